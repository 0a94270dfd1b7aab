// The README's examples, pasted: every command line and the TypeScript.
// deadline: 240

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, scratch, testEngine, type TestEngine } from '../harness/engine.ts';

const repository = new URL('../../', import.meta.url).pathname;
const readme = readFileSync(join(repository, 'README.md'), 'utf8');
const t = suite('README');
let engine: TestEngine;

t.before(async () => {
  engine = await testEngine();
});
t.after(() => engine.close());

const blocks = [...readme.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language, text]) => ({ language, text }));
const lines = blocks
  .filter(({ language }) => language === '')
  .flatMap(({ text }) => (text as string).trim().split('\n'));
// Cloning is what CI has done, and `npm test` is what runs this.
const commands = lines.filter((line) => !line.startsWith('git clone') && line !== 'npm test');

t('has commands', () => assert.ok(commands.length >= 6));

for (const command of commands) {
  t(command, async () => {
    const options = { cwd: repository, env: engine.env };
    const { exitCode, stdout, stderr } = await run('bash', ['-ec', command], options);
    assert.is(exitCode, 0, stderr);
    assert.not.match(stderr, /kapsel: /);
    if (command.includes('echo $HOSTNAME')) assert.match(stdout, /^[0-9a-f]{12}$/m);
    if (command.includes('exec web')) assert.match(stdout, /^\d+ in [0-9a-f]{12}$/m);
  });
}

t('the TypeScript runs, and its types are there', async () => {
  const { text = '' } = blocks.find(({ language }) => language === 'ts') ?? {};
  const roots = JSON.stringify(engine.options);
  const program = (from: string) =>
    text
      .replace('"kapsel"', JSON.stringify(from))
      .replace('new Engine()', `new Engine(${roots})`)
      .concat('process.stdout.write(`${exitCode} ${stdout}`);\n');
  const file = join(scratch, 'example.mts');
  writeFileSync(file, program(join(repository, 'dist/index.js')));
  const { stdout, stderr } = await run(process.execPath, [file]);
  assert.match(stdout, /^0 hello from [0-9a-f]{12}\n$/, stderr);
  writeFileSync(file, program(join(repository, 'dist/types/index.js')));
  const flags = ['--noEmit', '--ignoreConfig', '--strict', '--module', 'nodenext', '--target', 'esnext'];
  const types = ['--typeRoots', join(repository, 'node_modules/@types'), '--types', 'node'];
  const checked = await run(join(repository, 'node_modules/.bin/tsc'), [...flags, ...types, file]);
  assert.is(checked.stdout, '');
});

t.run();
