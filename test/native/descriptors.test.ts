// Descriptors of the addon: memfds, pipes, locks between processes, and the connection's lines with what they carry.

import { spawn as spawnNode } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readSync, statSync, writeSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { once } from 'node:events';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConflictError, KapselError } from '../../src/engine/errors.ts';
import * as native from '../../src/native.ts';

const t = suite('descriptors');
const scratch = mkdtempSync(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'descriptors-'));

const read = (fd: number, length = 100) => {
  const buffer = Buffer.alloc(length);
  return buffer.toString('utf8', 0, readSync(fd, buffer));
};

const isCloseOnExec = (fd: number) =>
  (Number.parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!, 8) & 0o2000000) !== 0;

const errnoOf = (act: () => unknown) => {
  try {
    act();
  } catch (error) {
    assert.instance(error, KapselError);
    return (error as KapselError).errno;
  }
  return undefined;
};

t('a memfd holds text or bytes and is read from its beginning', () => {
  for (const content of ['text with ümlaut', new Uint8Array([0, 255, 10]), '']) {
    const fd = native.memfd(content);
    assert.ok(isCloseOnExec(fd));
    const buffer = Buffer.alloc(100);
    assert.equal(buffer.subarray(0, readSync(fd, buffer)), Buffer.from(content as string));
    native.close(fd);
  }
});

t('pipes and socket pairs are connected, close-on-exec, and close() closes', () => {
  const [from, to] = native.pipe();
  const [one, other] = native.socketpair();
  assert.ok([from, to, one, other].every(isCloseOnExec));
  writeSync(to, 'through');
  assert.is(read(from), 'through');
  writeSync(one, 'across');
  assert.is(read(other), 'across');
  [from, to, one, other].forEach(native.close);
  assert.is(
    errnoOf(() => native.close(from)),
    os.errno.EBADF,
  );
  assert.throws(
    () => native.close(-1),
    (error: KapselError) => error.code === 'ARGUMENT_INVALID',
  );
});

t('a lock makes its directory, excludes, and is inherited by children until the last has ended', async () => {
  const path = join(scratch, 'run', 'containers', 'c1', 'lock');
  const lock = native.lockExclusive(path);
  assert.is(statSync(join(scratch, 'run', 'containers', 'c1')).mode & 0o7777, 0o700);
  assert.ok(isCloseOnExec(lock));
  assert.is(native.tryLock(path), undefined);
  const since = performance.now();
  assert.throws(
    () => native.lockExclusive(path, 50),
    (error: KapselError) => error instanceof ConflictError && error.code === 'LOCK_IN_USE',
  );
  assert.ok(performance.now() - since >= 50);
  const [hold, letGo] = native.pipe();
  const pid = native.spawn({ path: '/bin/cat', argv: ['cat'], env: [], fds: [hold, null, null, null, lock] });
  native.close(lock);
  assert.is(native.tryLock(path), undefined, 'the child holds it');
  native.close(letGo);
  native.close(hold);
  await native.reap(pid);
  const again = native.tryLock(path);
  assert.type(again, 'number');
  native.removeRunDirectory(join(path, '..'));
  assert.not(existsSync(join(path, '..')));
  assert.equal(readdirSync(join(scratch, 'run', 'containers')), []);
  native.close(again!);
});

t('a socket is found by a path longer than an address can hold', async () => {
  const directory = join(scratch, 'd'.repeat(120), 'e'.repeat(120));
  mkdirSync(directory, { recursive: true });
  // Node's own listen() cannot bind there by its whole path.
  process.chdir(directory);
  const server = createServer((socket) => socket.end('found')).listen('control');
  await once(server, 'listening');
  process.chdir('/');
  const fd = native.connect(join(directory, 'control'));
  const [text] = (await once(new Socket({ fd }).setEncoding('utf8'), 'data')) as [string];
  assert.is(text, 'found');
  server.close();
  assert.is(
    errnoOf(() => native.connect(join(directory, 'nobody'))),
    os.errno.ENOENT,
  );
  assert.is(
    errnoOf(() => native.connect(join(scratch, 'nobody'))),
    os.errno.ENOENT,
  );
});

t('send writes a whole line, waiting where the socket is full', async () => {
  const [ours, theirs] = native.socketpair();
  // Makes the description non-blocking, as the engine's own use of node:net does.
  const socket = new Socket({ fd: ours });
  const text = 'y'.repeat(1 << 20);
  const reader = spawnNode('/bin/sh', ['-c', 'sleep 0.1; wc -c'], { stdio: [theirs, 'pipe', 'inherit'] });
  native.close(theirs);
  native.send(ours, { text });
  socket.end();
  const [count] = (await once(reader.stdout!.setEncoding('utf8'), 'data')) as [string];
  assert.is(Number(count), JSON.stringify({ text }).length + 1);
});

t('sendSome waits for nobody, and gives back what is left', async () => {
  const [ours, theirs] = native.socketpair();
  const text = 'ÿ'.repeat(1 << 20);
  const left = native.sendSome(ours, { text }, [])!;
  const line = Buffer.from(`${JSON.stringify({ text })}\n`);
  assert.ok(left.length > 0 && left.length < line.length);
  assert.equal(left, line.subarray(line.length - left.length));
  [ours, theirs].forEach(native.close);
});

t('connect waits for nobody: a full queue is EAGAIN', () => {
  const path = join(scratch, 'full');
  const script =
    'import socket, sys, time\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(1)\nprint(flush=True)\ntime.sleep(30)';
  const listener = spawnNode('python3', ['-c', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  return once(listener.stdout!, 'data').then(() => {
    const opened: number[] = [];
    const refused = errnoOf(() => {
      for (let count = 0; count < 10; count++) opened.push(native.connect(path));
    });
    opened.forEach(native.close);
    listener.kill('SIGKILL');
    assert.is(refused, os.errno.EAGAIN);
  });
});

t('descriptors travel with the first byte', async () => {
  // Node itself takes descriptors from a socket: a child with an IPC channel, for which this test plays the parent.
  const [ours, theirs] = native.socketpair();
  const [held, given] = native.socketpair();
  const script = 'process.on("message", (text, socket) => socket.end(text, () => process.exit()));';
  const env = { ...process.env, NODE_CHANNEL_FD: '3', NODE_CHANNEL_SERIALIZATION_MODE: 'json' };
  const child = spawnNode(process.execPath, ['--eval', script], {
    stdio: ['ignore', 'inherit', 'inherit', theirs],
    env,
  });
  native.close(theirs);
  native.send(ours, { cmd: 'NODE_HANDLE', type: 'net.Socket', msg: 'it came through' }, [given]);
  native.close(given);
  await once(child, 'exit');
  assert.is(read(held), 'it came through');
  assert.is(read(held), '', 'and nobody else has it');
  [ours, held].forEach(native.close);
});

t('a connection whose other end is gone takes nothing: no error, and no signal', () => {
  const [ours, theirs] = native.socketpair();
  native.close(theirs);
  native.send(ours, { request: 'signal', signal: 15 });
  native.close(ours);
});

t.run();
