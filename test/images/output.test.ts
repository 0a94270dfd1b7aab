// What a command writes for its user: under its name when it is whole, and nothing else, however the command ends.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { OutputFile } from '../../src/engine/output-file.ts';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { killedWriting } from '../harness/killed.ts';
import { scratchDirectory } from './store.ts';

const t = suite('output files');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let test: TestEngine;
let directory: string;

t.before(async () => {
  scratch = await scratchDirectory('output');
  test = await testEngine();
  const layout = join(scratch.path, 'layout');
  await ociLayout(layout, [{ layers: await busyboxLayers(scratch.path), config: busyboxFacts.config, name: 'it' }]);
  await test.engine.images.copy(`oci:${layout}:it`, 'it:1');
});
t.after(async () => {
  await test.close();
  await scratch.remove();
});
t.before.each(async () => {
  directory = await mkdtemp(join(scratch.path, 'd'));
});
t.after.each(() => rm(directory, { recursive: true }));

for (const way of ['open', 'openNamed'] as const) {
  t(`${way}: a new name, and one that another file had`, async () => {
    const path = join(directory, 'file');
    for (const text of ['first', 'second']) {
      const file = await OutputFile[way](directory, 0o640);
      await file.handle.writeFile(text);
      assert.equal(
        readdirSync(directory).filter((name) => !name.startsWith('.')),
        text === 'first' ? [] : ['file'],
      );
      await file.keep(path);
      await file.close();
      assert.is(readFileSync(path, 'utf8'), text);
      assert.is(statSync(path).mode & 0o777, 0o640);
    }
    assert.equal(readdirSync(directory), ['file']);
  });

  t(`${way}: what is not kept is gone, and so is what a killed writer left`, async () => {
    const given = await OutputFile[way](directory);
    await given.close();
    assert.equal(readdirSync(directory), []);
    const source = new URL('../../src/engine/output-file.ts', import.meta.url).href;
    const script = `const { OutputFile } = await import('${source}');
      const file = await OutputFile.${way}('${directory}');
      await file.handle.writeFile('half');
      process.kill(process.pid, 'SIGKILL');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
    assert.equal(await once(child, 'exit'), [null, 'SIGKILL']);
    assert.is(readdirSync(directory).length, way === 'open' ? 0 : 1);
    const file = await OutputFile[way](directory);
    const other = await OutputFile[way](directory);
    assert.is(readdirSync(directory).length, way === 'open' ? 0 : 2);
    await file.keep(join(directory, 'file'));
    await other.close();
    await file.close();
    assert.equal(readdirSync(directory), ['file']);
  });
}

t('what died between its two names is taken away, what is not ours stays', async () => {
  const left = join(directory, '.kapsel-0123456789abcdef.part');
  writeFileSync(left, 'whole, but not called so yet');
  writeFileSync(join(directory, '.kapsel-mine.part'), 'mine');
  writeFileSync(join(directory, 'file'), 'old');
  const file = await OutputFile.open(directory);
  await file.keep(join(directory, 'file'));
  await file.close();
  assert.equal(readdirSync(directory), ['.kapsel-mine.part', 'file']);
});

t('save and export that are killed while they write leave nothing', async () => {
  const container = await test.engine.containers.create('it:1');
  const commands = [
    ['save', '-q', '-o', join(directory, 'saved.tar'), 'it:1'],
    ['save', '-q', '--format', 'oci-archive', '-o', join(directory, 'saved.tar'), 'it:1'],
    ['export', '-o', join(directory, 'exported.tar'), container.id],
  ];
  for (const args of commands) {
    for (let killed = 0, tries = 0; killed < 3; tries++) {
      assert.ok(tries < 30, `${args.join(' ')} is always quicker`);
      if (await killedWriting(test, args, directory)) killed++;
      else await rm(args[args.indexOf('-o') + 1]!);
      assert.equal(readdirSync(directory), [], args.join(' '));
    }
  }
  await container.remove();
});

t.run();
