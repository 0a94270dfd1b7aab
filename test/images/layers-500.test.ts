// An image of as many layers as the kernel's overlay takes lives as any other.
// deadline: 120

import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxLayers, ociLayout } from '../harness/images.ts';
import { scratchDirectory } from './store.ts';

const execute = promisify(execFile);
const t = suite('500 layers');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let test: TestEngine;

t.before(async () => {
  scratch = await scratchDirectory('layers');
  test = await testEngine();
});
t.after(async () => {
  await test.close();
  await scratch.remove();
});

/** Busybox, and above it so many layers of a file each in the same directory; every one changes the file `top` as well. */
async function layout(count: number): Promise<string> {
  const [base] = await busyboxLayers(scratch.path);
  const script = `mkdir -p many/deep/er && for i in $(seq 1 "$0"); do
    echo $i > many/top; echo $i > many/deep/er/f$i; touch -d @0 many/top many/deep/er/f$i
    tar --create --file "layer$i.tar" --mtime=@0 --owner=0 --group=0 --sort=name many && rm many/deep/er/f$i
  done`;
  await execute('sh', ['-ec', script, String(count)], { cwd: scratch.path });
  const layers = Array.from({ length: count }, (_, index) => join(scratch.path, `layer${index + 1}.tar`));
  const config = { Cmd: ['sh'] };
  return await ociLayout(join(scratch.path, 'layout'), [
    { layers: [base!, ...layers], config, compression: 'none', name: 'it' },
  ]);
}

t('created, run, changed, committed, and gone', async () => {
  const { engine } = test;
  // One is left for the commit.
  await engine.images.copy(`oci:${await layout(498)}:it`, 'many:1');
  assert.is(engine.images.resolve('many:1')!.layers.length, 499);
  const script = 'cat /many/top; ls /many/deep/er | wc -l; rm /many/deep/er/f7; echo new > /many/new';
  const run = await test.kapsel(['run', '--name', 'it', 'many:1', 'sh', '-c', script]);
  assert.equal([run.exitCode, run.stdout], [0, '498\n498\n'], run.stderr);
  const container = await engine.containers.get('it');
  assert.equal(
    (await container.diff()).filter(({ path }) => path.startsWith('/many')).map(({ kind, path }) => `${kind} ${path}`),
    ['C /many', 'C /many/deep', 'C /many/deep/er', 'D /many/deep/er/f7', 'A /many/new'],
  );
  await container.commit({ reference: 'more:1' });
  const full = engine.images.resolve('more:1')!;
  assert.is(full.layers.length, 500);
  const again = await test.kapsel(['run', '--rm', 'more:1', 'sh', '-c', 'ls /many /many/deep/er | wc -l; echo > /x']);
  assert.equal([again.exitCode, again.stdout], [0, `${3 + 3 + 497}\n`], again.stderr);
  // The kernel takes no more.
  const over = await test.kapsel(['run', '--name', 'over', 'more:1', 'sh', '-c', 'echo > /x']);
  assert.is(over.exitCode, 0, over.stderr);
  const refused = await test.kapsel(['commit', 'over', 'over:1']);
  assert.is(refused.exitCode, 1);
  assert.match(refused.stderr, /^kapsel: .*500 layers/);
  assert.match(refused.stderr, /^[^\n]+\n$/);
  await container.remove();
  assert.is((await test.kapsel(['rm', 'over'])).exitCode, 0);
  assert.is((await test.kapsel(['rmi', 'more:1', 'many:1'])).exitCode, 0);
  assert.equal(readdirSync(join(test.root, 'layers')), []);
});

t.run();
