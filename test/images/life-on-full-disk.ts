// Run by full-disk.test.ts in a mount namespace whose only small disk is argv[2]: what an engine on it can do when it is
// full, and when there is room again. Prints what happened as JSON.

import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine } from '../../src/index.ts';

const [, , disk, tar, scratch] = process.argv as [string, string, string, string, string];
const root = join(disk, 'root');
const engine = new Engine({ root, runRoot: join(scratch, 'run'), cgroupParent: '/kapsel-full-disk-test' });
const filler = join(disk, 'filler');

function fill(): void {
  const free = () => Number(statfsSync(disk).bavail) * Number(statfsSync(disk).bsize);
  for (let size = free(); size > 0; size = free()) writeFileSync(filler, Buffer.alloc(size, 1), { flag: 'a' });
}

const outcome = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    ({ code, message, hint }: { code: string; message: string; hint?: string }) => `${code}: ${message}: ${hint}`,
  );

await engine.images.import(tar, { reference: 'base:1', changes: ['CMD true'] });
const container = await engine.containers.create('base:1', { name: 'changed' });
const upper = join(root, 'containers', container.id, 'upper');
mkdirSync(upper, { recursive: true });
writeFileSync(join(upper, 'new'), Buffer.alloc(3_000_000, 7));
fill();
const full = {
  commit: await outcome(container.commit({ reference: 'made:1' })),
  import: await outcome(engine.images.import(tar, { reference: 'other:1', changes: ['ENV A=b'] })),
  tag: await outcome(Promise.resolve().then(() => engine.images.tag('base:1', 'tagged:1'))),
  save: await outcome(engine.images.save(['base:1'], join(scratch, 'saved.tar'))),
};
const halfMade = ['layers', 'tmp'].flatMap((name) =>
  readdirSync(join(root, name)).filter((one) => /^\.|tmp/.test(one)),
);
const { damaged } = await engine.system.check();
const images = engine.images.list().map(({ repository, tag }) => `${repository}:${tag}`);
rmSync(filler);
const roomy = await outcome(container.commit({ reference: 'made:1' }));
await engine.images.remove('made:1');
fill();
const free = {
  untag: await outcome(engine.images.remove('base:1', { force: true })),
  remove: await outcome(container.remove()),
  prune: await outcome(engine.system.prune({ allImages: true })),
};
const left = ['layers', 'blobs/sha256', 'containers'].flatMap((name) => readdirSync(join(root, name)));
await engine.close();
console.log(JSON.stringify({ full, halfMade, damaged, images, roomy, free, left }));
