// `node bench/kills.ts [--rounds 1000] [--only NAME…]`: pull, push, prune, commit and save killed at random moments,
// that often each, and the store read again after each. As root; it needs what the tests need.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '1000' }, only: { type: 'string', multiple: true } },
});
const directory = mkdtempSync(join(tmpdir(), 'kapsel-kills-'));
process.env.KAPSEL_TEST_SCRATCH = directory;
const { play, scenes, Stage } = await import('../test/images/kills.ts');
const stage = await Stage.set();
try {
  const rounds = Number(values.rounds);
  const work = (values.only ?? Object.keys(scenes)).map(async (name) => {
    const began = performance.now();
    const hits = await play(stage, name, rounds);
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(`${name}: ${hits} of ${rounds} kills before its end, nothing damaged, nothing left (${seconds} s)`);
  });
  for (const one of await Promise.allSettled(work)) {
    if (one.status === 'fulfilled') continue;
    process.exitCode = 1;
    console.error(one.reason);
  }
} finally {
  await stage.close();
  rmSync(directory, { recursive: true, force: true });
}
