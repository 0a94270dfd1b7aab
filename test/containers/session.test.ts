// Containers on this process’s own descriptors: what `kapsel run`, `start -a`, `attach` and `exec` stand on.

import { closeSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { close, pipe } from '../../src/native.ts';
import { testEngine, type Census, type TestEngine } from '../harness/engine.ts';
import { image } from './inside.ts';
import { rejects } from './rejects.ts';

const t = suite('sessions');
let test: TestEngine;
let before: Census;
let files: string;

t.before(async () => {
  test = await testEngine();
  files = mkdtempSync(`${test.directory}/files-`);
  await test.engine.images.ensure(image);
  before = await test.census();
});

t.after(async () => {
  assert.equal(await test.census(), before);
  await test.close();
});

/** Calls with descriptors of files, and gives what was written to them. */
async function withFiles(
  input: string,
  work: (stdio: { stdin: number; stdout: number; stderr: number }) => Promise<unknown>,
) {
  const [stdin, stdout, stderr] = ['in', 'out', 'err'].map((name) => `${files}/${name}`) as [string, string, string];
  writeFileSync(stdin, input);
  const fds = [openSync(stdin, 'r'), openSync(stdout, 'w'), openSync(stderr, 'w')] as const;
  try {
    await work({ stdin: fds[0], stdout: fds[1], stderr: fds[2] });
  } finally {
    for (const fd of fds) closeSync(fd);
  }
  return [readFileSync(stdout, 'utf8'), readFileSync(stderr, 'utf8')];
}

t('a program reads and writes the descriptors it is given', async () => {
  const written = await withFiles('input\n', async (stdio) => {
    const options = { command: ['bash', '-c', 'cat; echo err >&2; exit 3'], interactive: true, rm: true };
    const session = await test.engine.containers.runAttached(image, options, stdio);
    assert.ok((await session.started).pid > 1);
    assert.is((await session.exited).exitCode, 3);
  });
  assert.equal(written, ['input\n', 'err\n']);
});

t('without stdin there is none', async () => {
  const written = await withFiles('input\n', async ({ stdout }) => {
    const session = await test.engine.containers.runAttached(image, { command: ['cat'], rm: true }, { stdout });
    assert.is((await session.exited).exitCode, 0);
  });
  assert.equal(written, ['', '']);
});

t('a program that cannot start rejects both promises', async () => {
  const session = await test.engine.containers.runAttached(image, { command: ['nothere'], rm: true }, { stdout: 1 });
  await rejects(session.started, { exitCode: 127 });
  await rejects(session.exited, { exitCode: 127 });
});

t('signals reach the program', async () => {
  await withFiles('', async ({ stdout }) => {
    const options = {
      command: ['bash', '-c', 'trap "exit 4" TERM; touch /ready; while :; do sleep 0.02; done'],
      rm: true,
    };
    const session = await test.engine.containers.runAttached(image, options, { stdout });
    await session.started;
    while ((await session.container.exec({ command: ['stat', '/ready'] })).exitCode !== 0);
    await session.kill('SIGTERM');
    assert.is((await session.exited).exitCode, 4);
    await session.kill('SIGTERM');
  });
});

t('a program whose output nobody reads any more ends, if it is of --rm', async () => {
  const [read, write] = pipe();
  const options = { command: ['bash', '-c', 'while :; do echo y; done'], rm: true };
  const session = await test.engine.containers.runAttached(image, options, { stdout: write });
  close(read);
  assert.is((await session.exited).exitCode, 137);
  close(write);
});

t('start -a, exec and attach', async () => {
  const container = await test.engine.containers.create(image, {
    command: ['bash', '-c', 'cat; echo end'],
    interactive: true,
  });
  const written = await withFiles('word', async (stdio) => {
    const session = await container.startAttached({ ...stdio });
    assert.is((await session.exited).exitCode, 0);
  });
  assert.equal(written, ['wordend\n', '']);
  await container.remove();

  const long = await test.engine.containers.start(image, {
    command: ['bash', '-c', 'read -r x; echo "got $x"'],
    interactive: true,
  });
  const inExec = await withFiles('', async (stdio) => {
    const session = await long.execAttached({ command: ['bash', '-c', 'echo $$ >&2; exit 6'] }, stdio);
    assert.ok((await session.started).pid > 1);
    assert.is((await session.exited).exitCode, 6);
  });
  assert.match(inExec[1]!, /^\d+\n$/);
  await rejects(
    long.execAttached({ command: ['nothere'] }, {}).then((session) => session.exited),
    { exitCode: 127 },
  );
  const attachedTo = await withFiles('it\n', async (stdio) => {
    const session = await long.attachTo(stdio);
    assert.is((await session.exited).exitCode, 0);
  });
  assert.equal(attachedTo, ['got it\n', '']);
  await long.remove();
});

t('a detached exec runs on', async () => {
  const container = await test.engine.containers.start(image, { command: ['sleep', '60'] });
  const session = await container.execAttached({ command: ['touch', '/made'] }, { detach: true });
  await session.started;
  session.close();
  for (let tries = 0; (await container.exec({ command: ['stat', '/made'] })).exitCode !== 0; tries++)
    assert.ok(tries < 50);
  await container.remove({ force: true });
});

t.run();
