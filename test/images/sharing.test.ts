// Files that layers have alike take the disk once, are exactly counted, and stay each image's own.

import { execFile } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { copyFile, chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { ociLayout, tree } from '../harness/images.ts';
import { inImage, scratchDirectory } from './store.ts';

const execute = promisify(execFile);
const t = suite('sharing');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let test: TestEngine;

/** Files that both images have, each of them 100 000 bytes. */
const common = Array.from({ length: 20 }, (_, index) => `usr/lib/d${index % 3}/f${index}`);

/** A layer with those, busybox, and a file of its own. */
async function layer(name: string): Promise<string> {
  return await tree(scratch.path, name, async (root) => {
    for (const [index, path] of common.entries()) {
      await mkdir(join(root, path, '..'), { recursive: true });
      await writeFile(join(root, path), Buffer.alloc(100_000, index));
    }
    await mkdir(join(root, 'bin'));
    await copyFile('/bin/busybox', join(root, 'bin/sh'));
    await chmod(join(root, 'bin/sh'), 0o755);
    await writeFile(join(root, 'own'), Buffer.alloc(50_000, name));
  });
}

t.before(async () => {
  scratch = await scratchDirectory('sharing');
});
t.after(() => scratch.remove());
t.before.each(async () => {
  test = await testEngine();
});
t.after.each(() => test.close());

/** Blocks of layers and documents as the kernel counts them, every file once. */
function taken(): number {
  const seen = new Map<number, number>();
  for (const kept of ['layers', 'blobs']) {
    for (const path of readdirSync(join(test.root, kept), { recursive: true }) as string[]) {
      const { ino, blocks } = statSync(join(test.root, kept, path));
      seen.set(ino, blocks * 512);
    }
  }
  return [...seen.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function names(image: string, path: string): number {
  return statSync(join(test.engine.images.resolve(image)!.layers[0]!, path)).nlink;
}

t('a second image takes only what is new in it, and df says what the removal of either frees', async () => {
  const { engine } = test;
  await engine.images.import(await layer('first'), { reference: 'first:1', changes: ['CMD sh'] });
  const alone = taken();
  await engine.images.import(await layer('second'), { reference: 'second:1', changes: ['CMD sh'] });
  const shared = common.length * 100_000;
  assert.ok(taken() - alone < 300_000, 'the second takes its own file, its directories and its recipe');
  for (const path of [...common, 'bin/sh']) assert.is(names('first:1', path), 2, path);
  assert.is(names('second:1', 'own'), 1);
  const { images } = await engine.system.df();
  const [first, second] = images.items;
  assert.ok(first!.shared >= shared && second!.shared >= shared);
  const before = taken();
  const { stdout } = await test.kapsel(['rmi', 'first:1']);
  assert.match(stdout, /Untagged: first:1/);
  const unique = images.items.find(({ names: tags }) => tags.includes('first:1'))!.unique;
  assert.is(before - taken(), unique);
  for (const path of common) assert.is(names('second:1', path), 1);
  assert.equal((await engine.system.check()).damaged, []);
  const rest = await engine.system.df();
  assert.is(rest.images.items[0]!.unique, rest.images.items[0]!.size);
});

t('what a container of one image does, the other does not see', async () => {
  const { engine } = test;
  await engine.images.import(await layer('first'), { reference: 'first:1', changes: ['CMD sh'] });
  await engine.images.import(await layer('second'), { reference: 'second:1', changes: ['CMD sh'] });
  const [one, two, three] = common as [string, string, string];
  const script = `echo changed > /${one}; chmod 600 /${two}; chown 5:5 /${two}; touch -d @5 /${two}; ln /${three} /again; echo x >> /again`;
  // Its own storage, and a volume that gets what the image has there.
  const result = await test.kapsel(['run', '--rm', '-v', '/usr/lib/d0', 'first:1', 'sh', '-c', script]);
  assert.is(result.exitCode, 0, result.stderr);
  const find = `for f in ${common.join(' ')}; do stat -c '%s %a %u %g %Y %n' $f; done; sha256sum ${common.join(' ')}`;
  const [first, second] = await Promise.all(
    ['first:1', 'second:1'].map((name) => inImage(engine.images.resolve(name)!, find)),
  );
  assert.is(first, second);
  assert.match(second!, /^100000 644 0 0 0 usr\/lib\/d0\/f0$/m);
  assert.equal((await engine.system.check()).damaged, []);
});

t(
  'a container with ids of its own sees shared layers as its own, and nothing is copied or changed for it',
  async () => {
    const { engine } = test;
    await engine.images.import(await layer('first'), { reference: 'first:1', changes: ['CMD sh'] });
    await engine.images.import(await layer('second'), { reference: 'second:1', changes: ['CMD sh'] });
    const before = taken();
    const [one, two] = common as [string, string];
    const script = `stat -c '%u %g %a' /${one}; cat /proc/self/uid_map; echo changed > /${two}`;
    const args = ['run', '--name', 'mapped', '--userns', '200000:65536', 'first:1', 'sh', '-c', script];
    const { exitCode, stdout, stderr } = await test.kapsel(args);
    assert.is(exitCode, 0, stderr);
    assert.match(stdout, /^0 0 644\n +0 +200000 +65536\n$/);
    assert.is(taken(), before);
    const [tree] = engine.images.resolve('second:1')!.layers;
    assert.equal([statSync(join(tree!, one)).uid, names('second:1', one), names('first:1', two)], [0, 2, 2]);
    // Its own storage has what it has changed, and no more.
    const { id } = await engine.containers.get('mapped');
    const upper = join(test.root, 'containers', id, 'upper');
    const files = (readdirSync(upper, { recursive: true }) as string[]).filter((path) =>
      statSync(join(upper, path)).isFile(),
    );
    assert.equal(
      files.filter((path) => path.startsWith('usr')),
      [two],
    );
    assert.is(statSync(join(upper, two)).uid, 200_000);
  },
);

t('layers of one image share too, and what is written out of them has no link that its files had not', async () => {
  const { engine } = test;
  const layers = [await layer('first'), await layer('second')];
  const layout = await ociLayout(join(scratch.path, 'layout'), [{ layers, name: 'it', config: { Cmd: ['sh'] } }]);
  await engine.images.copy(`oci:${layout}:it`, 'both:1');
  assert.is(names('both:1', common[0]!), 2);
  const container = await engine.containers.create('both:1');
  const exported = join(scratch.path, 'exported.tar');
  const { exitCode } = await test.kapsel(['export', '-o', exported, container.id]);
  assert.is(exitCode, 0);
  const { stdout } = await execute('tar', ['-tvf', exported]);
  assert.is(
    stdout.split('\n').filter((line) => line.startsWith('-') && line.includes(' 100000 ')).length,
    common.length,
  );
  assert.not.match(stdout, /link to/);
  const saved = join(scratch.path, 'saved.tar');
  assert.is((await test.kapsel(['save', '-o', saved, 'both:1'])).exitCode, 0);
  await container.remove();
  await test.kapsel(['rmi', '-f', 'both:1']);
  assert.is((await test.kapsel(['load', '-i', saved])).exitCode, 0);
  assert.is(names('both:1', common[0]!), 2);
  assert.equal((await engine.system.check()).damaged, []);
});

t.run();
