import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import type { Container } from '../../src/index.ts';
import { testEngine, type Census, type TestEngine } from '../harness/engine.ts';
import { all, image, shell } from './inside.ts';
import { rejects } from './rejects.ts';

const t = suite('a container’s life');
let test: TestEngine;
let before: Census;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  before = await test.census();
});

t.after(async () => {
  assert.equal(await test.census(), before);
  await test.close();
});

const start = (script: string, options: object = {}): Promise<Container> =>
  test.engine.containers.start(image, { command: ['bash', '-c', script], ...options });

/** Started, and so far that its script has said `ready`: PID 1 takes no signal that it has not asked for. */
async function startReady(script: string, options: object = {}): Promise<Container> {
  const container = await start(script.replace(/; while/, '; echo ready; while'), options);
  for await (const { text } of container.logs({ follow: true })) if (text === 'ready\n') break;
  return container;
}

async function status(container: Container): Promise<string> {
  return (await container.inspect()).State.Status;
}

t('create, start, wait, start again, remove', async () => {
  const container = await test.engine.containers.create(image, {
    command: ['bash', '-c', 'echo -n x >> /count; exit 3'],
  });
  assert.is(await status(container), 'created');
  await container.start();
  assert.is((await container.wait()).exitCode, 3);
  const { State } = await container.inspect();
  assert.equal([State.Status, State.ExitCode, State.Running, State.Pid], ['exited', 3, false, 0]);
  assert.ok(State.StartedAt <= State.FinishedAt);
  await container.start();
  await container.wait();
  assert.is((await container.wait()).exitCode, 3, 'one that has ended is waited for at once');
  await container.remove();
  await rejects(container.inspect(), { code: 'CONTAINER_NOT_FOUND' });
});

t('what a container wrote is there when it is started again', async () => {
  const container = await test.engine.containers.create(image, {
    command: ['bash', '-c', 'cat /was; echo again > /was'],
  });
  await container.start();
  await container.wait();
  await container.start();
  await container.wait();
  const lines: string[] = [];
  for await (const { stream, text } of container.logs()) lines.push(`${stream} ${text}`);
  assert.equal(lines, ['stderr cat: /was: No such file or directory\n', 'stdout again\n']);
  await container.remove();
});

t('a detached container is listed, described, found by name and by the beginning of its id', async () => {
  const { containers } = test.engine;
  const container = await start('sleep 60', { name: 'found', labels: { a: '1', b: '2' } });
  const [line] = await containers.list({ filters: { name: ['^found$'] } });
  assert.is(line?.status, 'running');
  assert.equal(line?.command, ['bash', '-c', 'sleep 60']);
  assert.is((await containers.get('found')).id, container.id);
  assert.is((await containers.get(container.id.slice(0, 8))).id, container.id);
  assert.is((await containers.list({ filters: { label: ['a=1', 'b'] } })).length, 1);
  assert.is((await containers.list({ filters: { label: ['a=2'] } })).length, 0);
  await rejects(containers.list({ filters: { what: ['x'] } }), { code: 'FILTER_INVALID' });
  const { State } = await container.inspect();
  assert.ok(State.Running && State.Pid > 1);
  process.kill(State.Pid, 0);
  await rejects(containers.create(image, { command: ['true'], name: 'found' }), { code: 'NAME_IN_USE' });
  await rejects(container.remove(), { code: 'CONTAINER_CONFLICT' });
  await container.remove({ force: true });
  assert.equal(await containers.list({ all: true, filters: { name: ['found'] } }), []);
});

t('stop sends the stop signal, and SIGKILL when that does not help', async () => {
  const polite = await startReady('trap "exit 5" USR1; while :; do sleep 0.05; done', { stopSignal: 'SIGUSR1' });
  await polite.stop();
  assert.is((await polite.inspect()).State.ExitCode, 5);
  const stubborn = await startReady('trap "" TERM; while :; do sleep 0.05; done');
  const began = Date.now();
  await stubborn.stop({ timeout: 1 });
  assert.is((await stubborn.inspect()).State.ExitCode, 137);
  assert.ok(Date.now() - began >= 900);
  await stubborn.stop();
  await polite.remove();
  await stubborn.remove();
});

t('kill sends any signal, and only to what runs', async () => {
  const container = await startReady('trap "exit 9" HUP; while :; do sleep 0.05; done');
  await container.kill('HUP');
  assert.is((await container.wait()).exitCode, 9);
  await rejects(container.kill(), { code: 'CONTAINER_NOT_RUNNING', message: /is not running/ });
  await rejects(container.kill('NOPE'), { code: 'SIGNAL_INVALID' });
  await container.remove();
});

t('pause freezes and unpause thaws', async () => {
  const container = await start('while :; do echo x; sleep 0.02; done');
  await container.pause();
  assert.is(await status(container), 'paused');
  await rejects(container.start(), { code: 'CONTAINER_CONFLICT' });
  const count = async () => (await all(container.logs())).length;
  const moment = () => new Promise((resolve) => setTimeout(resolve, 200));
  // What was written before is on its way through the monitor.
  await moment();
  const one = await count();
  await moment();
  assert.is(await count(), one);
  await container.unpause();
  assert.is(await status(container), 'running');
  await container.remove({ force: true });
});

t('exec runs beside, in the container’s environment or its own', async () => {
  const container = await start('export HIDDEN=1; sleep 60', { env: ['A=1'], workdir: '/tmp', user: '1000' });
  const script = 'echo "$A $B $HIDDEN $PWD $(id -u)"; echo oops >&2; exit 4';
  const result = await container.exec({ command: ['bash', '-c', script], env: ['B=2'] });
  assert.equal([result.stdout, result.stderr, result.exitCode], ['1 2  /tmp 1000\n', 'oops\n', 4]);
  const root = await container.exec({
    command: ['bash', '-c', 'id -u; pwd; cat'],
    user: '0',
    workdir: '/etc',
    input: 'in',
  });
  assert.is(root.stdout, '0\n/etc\nin');
  await rejects(container.exec({ command: ['nothere'] }), { exitCode: 127 });
  await rejects(container.exec({ command: [] }), { code: 'COMMAND_MISSING' });
  assert.match((await container.exec({ command: ['grep', 'CapEff', '/proc/self/status'] })).stdout, /0000000000000000/);
  await container.remove({ force: true });
  await rejects(container.exec({ command: ['true'] }), { code: 'CONTAINER_NOT_FOUND' });
});

t('exec’s programs are stopped with the container, and by their AbortSignal', async () => {
  const container = await start('sleep 60');
  const abort = new AbortController();
  const aborted = container.exec({ command: ['sleep', '60'], signal: abort.signal });
  const left = container.exec({ command: ['sleep', '60'] });
  setTimeout(() => abort.abort(), 100);
  await rejects(aborted, { code: 'ABORTED' });
  await container.kill();
  assert.is((await left).exitCode, 137);
  await container.remove();
});

t('a program’s streams are in hand with spawn', async () => {
  const container = await start('sleep 60');
  const program = await container.spawn({
    command: ['bash', '-c', 'while read -r line; do echo "got $line"; done'],
    interactive: true,
  });
  assert.ok(program.pid > 1);
  program.stdin!.write('one\ntwo\n');
  program.stdin!.end();
  const output = await all(program.stdout);
  assert.is(Buffer.concat(output as Buffer[]).toString(), 'got one\ngot two\n');
  assert.is((await program.exited).exitCode, 0);
  await container.remove({ force: true });
});

t('logs have times, a tail, a since, and are followed to the end', async () => {
  const container = await start('for i in 1 2 3; do echo $i; done; sleep 0.3; echo 4 >&2; echo -n 5');
  const followed: string[] = [];
  for await (const { text } of container.logs({ follow: true })) followed.push(text);
  assert.equal(
    followed.filter((text) => text !== '4\n'),
    ['1\n', '2\n', '3\n', '5'],
  );
  assert.is(followed.length, 5);
  const texts = async (options: object) => (await all(container.logs(options))).map(({ text }) => text);
  assert.equal(await texts({ tail: 2, stderr: false }), ['3\n', '5']);
  assert.equal(await texts({ tail: 0 }), []);
  assert.equal(await texts({ stdout: false }), ['4\n']);
  const [first, , , fourth] = await all(container.logs());
  assert.match(first!.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  assert.is((await texts({ since: fourth!.time })).length, 2);
  // The first three may or may not have come by one write, and then have one time.
  const early = await texts({ until: first!.time });
  assert.is(early[0], '1\n');
  assert.not.ok(early.includes('4\n') || early.includes('5'));
  await container.remove();
});

t('a log that rotates is read whole', async () => {
  const container = await start('for i in {1..2000}; do echo "line $i"; done', {
    logOptions: { 'max-size': '40k', 'max-file': '9' },
  });
  await container.wait();
  const lines = await all(container.logs());
  assert.is(lines.length, 2000);
  assert.is(lines.at(-1)!.text, 'line 2000\n');
  await container.remove();
});

t('without a log there is nothing to read', async () => {
  const container = await start('echo x', { logDriver: 'none' });
  await container.wait();
  await rejects(all(container.logs()), { code: 'LOG_UNSUPPORTED' });
  await container.remove();
});

t('a detached --rm container vanishes when it ends', async () => {
  const container = await start('sleep 0.1; exit 6', { rm: true });
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.is((await container.wait()).exitCode, 6, 'whoever started it knows how it ended');
  await rejects(container.inspect(), { code: 'CONTAINER_NOT_FOUND' });
});

t('a container that cannot start says why, and stays to be looked at', async () => {
  const container = await test.engine.containers.create(image, { command: ['nothere'] });
  await rejects(container.start(), { exitCode: 127, code: 'PROGRAM_NOT_FOUND' });
  const { State } = await container.inspect();
  assert.is(State.ExitCode, 127);
  assert.match(State.Error, /nothere/);
  await container.remove();
});

t('attach joins a running container’s streams', async () => {
  const container = await start('read -r word; echo "<$word>"; sleep 60', { interactive: true });
  const streams = await container.attach();
  streams.stdin!.write('hello\n');
  const chunk = await new Promise((resolve) => streams.stdout.once('data', resolve));
  assert.is(String(chunk), '<hello>\n');
  const ended = streams.exited;
  await container.kill();
  assert.is((await ended).exitCode, 137);
  await container.remove();
});

t('events tell what happened, in order', async () => {
  const since = new Date();
  const container = await start('exit 2', { name: 'eventful' });
  await container.wait();
  await container.inspect();
  await container.remove();
  const actions: string[] = [];
  for await (const event of test.engine.events.follow({ since, until: new Date(Date.now() + 200) })) {
    if (event.type === 'container' && event.id === container.id) actions.push(event.action);
  }
  assert.equal(actions, ['create', 'start', 'die', 'destroy']);
});

t('events that are followed come by themselves', async () => {
  const abort = new AbortController();
  const seen = (async () => {
    for await (const event of test.engine.events.follow({ signal: abort.signal }))
      if (event.action === 'die') return event.id;
    return undefined;
  })();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const { id } = await shell(test, 'true');
  assert.is(await seen, id);
  abort.abort();
});

t.run();
