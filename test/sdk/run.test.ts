import { Readable } from 'node:stream';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { AbortedError, InvalidArgumentError, NotFoundError } from '../../src/index.ts';
import { image, shell } from '../containers/inside.ts';
import { rejects } from '../containers/rejects.ts';
import { testEngine, type Census, type TestEngine } from '../harness/engine.ts';

const t = suite('engine.containers.run');
let test: TestEngine;
let before: Census;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  before = await test.census();
});

t.after(async () => {
  assert.equal(await test.census(), before);
  assert.equal(await test.engine.containers.list({ all: true }), []);
  await test.close();
});

t('resolves with the exit code and the output, whatever the code', async () => {
  const result = await shell(test, 'echo out; echo err >&2; exit 7');
  assert.equal([result.exitCode, result.stdout, result.stderr], [7, 'out\n', 'err\n']);
  assert.is(result.signal, undefined);
  assert.is(result.oomKilled, false);
  assert.ok(result.duration > 0 && result.duration < 60_000);
  assert.match(result.id, /^[0-9a-f]{64}$/);
  assert.equal(result.warnings, []);
});

t('tells a signal from an exit code', async () => {
  const result = await shell(test, 'kill -9 $BASHPID', { init: true });
  assert.equal([result.exitCode, result.signal], [137, undefined], 'the shell’s child’s, passed on by init');
  const own = await test.engine.containers.run(image, { command: ['bash', '-c', 'ulimit -t 1; while :; do :; done'] });
  assert.equal([own.exitCode, own.signal], [137, 'SIGKILL']);
});

t('takes an input: text, bytes or a stream', async () => {
  const cat = { command: ['cat'] };
  assert.is((await test.engine.containers.run(image, { ...cat, input: 'grüße' })).stdout, 'grüße');
  const bytes = await test.engine.containers.run(image, { ...cat, input: Buffer.from([0, 255]), encoding: 'buffer' });
  assert.equal(bytes.stdout, Buffer.from([0, 255]));
  const stream = Readable.from(['a', 'b', 'c'].map((text) => Buffer.from(text)));
  assert.is((await test.engine.containers.run(image, { ...cat, input: stream })).stdout, 'abc');
  assert.is((await test.engine.containers.run(image, cat)).stdout, '', 'without one there is an end at once');
});

t('gives all of a large output', async () => {
  const { stdout } = await test.engine.containers.run(image, {
    command: ['head', '-c', '5000000', '/dev/zero'],
    encoding: 'buffer',
  });
  assert.is(stdout.length, 5_000_000);
});

t('a program that writes more than maxBuffer is ended', async () => {
  await rejects(shell(test, 'while :; do echo xxxxxxxxxxxxxxxxxxxxxx; done', { maxBuffer: 1000 }), {
    code: 'OUTPUT_TOO_LONG',
  });
});

t('an AbortSignal ends the container and leaves nothing', async () => {
  const abort = new AbortController();
  const running = shell(test, 'sleep 60', { signal: abort.signal });
  setTimeout(() => abort.abort(), 150);
  assert.instance(await rejects(running, { code: 'ABORTED', exitCode: 130 }), AbortedError);
  assert.equal(await test.census(), before);
  await rejects(shell(test, 'true', { signal: AbortSignal.abort() }), { code: 'ABORTED' });
});

t('an AbortSignal at any moment', async () => {
  for (let delay = 0; delay < 20; delay++) {
    const abort = new AbortController();
    const running = shell(test, 'sleep 60', { signal: abort.signal });
    setTimeout(() => abort.abort(), delay / 2);
    await rejects(running, { code: 'ABORTED' });
  }
  assert.equal(await test.census(), before);
});

t('a time limit ends it too', async () => {
  await rejects(shell(test, 'sleep 60', { timeout: 0.2 }), { code: 'TIMED_OUT', exitCode: 124 });
});

t('errors are classes with a code', async () => {
  assert.instance(await rejects(shell(test, 'x', { memory: 'lots' }), { code: 'SIZE_INVALID' }), InvalidArgumentError);
  const { containers } = test.engine;
  assert.instance(await rejects(containers.get('nothing'), { code: 'CONTAINER_NOT_FOUND' }), NotFoundError);
  await rejects(containers.run(image, { command: ['/no/such'] }), { exitCode: 127 });
});

t('a bad option leaves nothing half-made', async () => {
  for (const options of [{ devices: ['/dev/nope'] }, { mounts: ['type=bind,src=/nope/x,dst=/y'] }, { user: 'x:y:z' }]) {
    await rejects(shell(test, 'true', options), { exitCode: 125 });
  }
  assert.equal(await test.census(), before);
});

t('a terminal carries both streams, and has a size', async () => {
  const { stdout, stderr } = await shell(test, 'test -t 0 && test -t 2 && stty size; echo err >&2; echo "$TERM"', {
    tty: true,
    columns: 100,
    rows: 30,
  });
  assert.is(stdout, '30 100\r\nerr\r\nxterm\r\n');
  assert.is(stderr, '');
});

t('an engine closes by `await using`', async () => {
  const { Engine } = await import('../../src/index.ts');
  {
    await using engine = new Engine(test.options);
    assert.is((await engine.containers.run(image, { command: ['bash', '-c', 'echo hi'] })).stdout, 'hi\n');
  }
});

t('a program that leaves a child with its streams behind does not keep the run waiting', async () => {
  const { stdout } = await shell(test, 'sleep 60 & echo done');
  assert.is(stdout, 'done\n');
});

t('what is on the machine and in the engine is told', async () => {
  const info = await test.engine.info();
  assert.is(info.root, test.root);
  assert.is(info.containers.all, 0);
  assert.ok(info.images >= 1);
  assert.match(test.engine.version().kapsel, /^\d+\.\d+\.\d+/);
});

t.run();
