// `kill -9` at any moment of what changes the store or leaves it: what is there is whole, the next try works, and nothing is left.
// deadline: 400

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout, tree } from '../harness/images.ts';
import { TestRegistry } from '../harness/registry.ts';
import { TestStore } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const rounds = 6;
const t = suite('killed');
const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let registry: TestRegistry;
let test: TestEngine;
let layout: string;

t.before(async () => {
  scratch = await scratchDirectory('killed');
  registry = await TestRegistry.start();
  const fill = async (root: string) => {
    for (let directory = 0; directory < 10; directory++) {
      await mkdir(join(root, `d${directory}`));
      for (let file = 0; file < 10; file++) {
        await writeFile(join(root, `d${directory}`, `f${file}`), Buffer.alloc(20_000, directory * 10 + file));
      }
    }
  };
  const large = await tree(scratch.path, 'large', fill);
  // Files of two layers become one.
  const again = await tree(scratch.path, 'again', async (root) => {
    await fill(root);
    await writeFile(join(root, 'more'), 'more');
  });
  layout = join(scratch.path, 'layout');
  const layers = [...(await busyboxLayers(scratch.path)), large, again];
  await ociLayout(layout, [{ layers, config: busyboxFacts.config, name: 'it' }]);
  test = await testEngine();
});
t.after(async () => {
  await test.close();
  await registry.close();
  await scratch.remove();
});

/** Runs a command and kills it after so many milliseconds; resolves to how long it ran by itself, where it was quicker. */
async function killed(args: string[], after: number): Promise<number | undefined> {
  const began = performance.now();
  const child = spawn(process.execPath, [cli, ...args], { env: { ...process.env, ...test.env }, stdio: 'ignore' });
  const ended = once(child, 'exit') as Promise<[number | null]>;
  const code = await Promise.race([ended.then(([status]) => status), sleep(after, undefined)]);
  child.kill('SIGKILL');
  await ended;
  if (code === undefined || code === null) return undefined;
  assert.is(code, 0, args.join(' '));
  return performance.now() - began;
}

/** Nothing is damaged, nothing half made stays after the next change, and nothing is in the way of it. */
async function isSound(): Promise<void> {
  assert.equal((await test.engine.system.check()).damaged, []);
  await isClean();
}

async function isClean(): Promise<void> {
  await test.engine.system.prune({ kinds: ['cache'] });
  for (const name of ['layers', 'tmp']) {
    const left = readdirSync(join(test.root, name)).filter((entry) => name === 'tmp' || entry.startsWith('.'));
    assert.equal(left, []);
  }
}

/** Kills the command at moments that are spread over its whole time. */
async function survives(
  args: string[],
  prepare: () => Promise<unknown>,
  finish: () => Promise<unknown>,
): Promise<void> {
  await prepare();
  const whole = (await killed(args, 60_000))!;
  await finish();
  for (let round = 0; round < rounds; round++) {
    await prepare();
    await killed(args, whole * ((round + Math.random()) / rounds));
    await isSound();
    assert.is((await test.kapsel(args)).exitCode, 0);
    await finish();
    await isClean();
  }
}

const load = () => test.engine.images.copy(`oci:${layout}:it`, 'it:1');
async function unload(): Promise<void> {
  await test.engine.system.prune({ allImages: true });
  assert.equal(test.engine.images.list(), []);
  assert.equal(readdirSync(join(test.root, 'layers')), []);
  assert.equal(readdirSync(join(test.root, 'blobs', 'sha256')), []);
}

t('a copy into the store', async () => {
  await survives(
    ['copy', '-q', `oci:${layout}:it`, 'it:1'],
    async () => {},
    async () => {
      assert.ok(test.engine.images.resolve('it:1'));
      await unload();
    },
  );
});

t('a prune', async () => {
  await survives(['system', 'prune', '-af'], load, async () => {
    assert.equal(test.engine.images.list(), []);
    assert.equal(readdirSync(join(test.root, 'layers')), []);
  });
});

t('a save', async () => {
  await load();
  const path = join(scratch.path, 'saved.tar');
  await survives(
    ['save', '-q', '-o', path, 'it:1'],
    () => rm(path, { force: true }),
    async () => {
      const store = await TestStore.make();
      try {
        assert.is((await store.images.load(path))[0]?.id, test.engine.images.inspect('it:1').Id);
      } finally {
        await store.close();
      }
      for (const name of readdirSync(scratch.path).filter((one) => /^\.[0-9a-f]{16}$/.test(one))) {
        await rm(join(scratch.path, name)); // what was killed could not take it along
      }
    },
  );
  await unload();
});

t('a push', async () => {
  await load();
  let number = 0;
  for (let round = 0; round < rounds; round++) {
    const name = `${registry.host}/pushed/${++number}:1`;
    test.engine.images.tag('it:1', name);
    await killed(['push', '-q', name], 100 + (2000 * round) / rounds);
    await isSound();
    assert.is((await test.kapsel(['push', '-q', name])).exitCode, 0);
    const store = await TestStore.make();
    try {
      assert.is((await store.images.pull(name)).id, test.engine.images.inspect('it:1').Id);
    } finally {
      await store.close();
    }
  }
  await unload();
});

t('a commit', async () => {
  await load();
  const container = await test.engine.containers.create('it:1', { command: ['sh', '-c', 'echo new > /data/new'] });
  await container.start();
  await container.wait();
  await survives(
    ['commit', container.id, 'made:1'],
    async () => {},
    async () => {
      assert.is((await test.engine.containers.run('made:1', { command: ['cat', '/data/new'] })).stdout, 'new\n');
      await test.engine.images.remove('made:1', { noPrune: true });
    },
  );
  await container.remove();
  await unload();
  assert.not.ok(existsSync(join(test.root, 'partial')));
});

t.run();
