// Processes of the addon: which descriptors, signals and names a child gets, how its end is known, and that nobody can
// write to the executable through it (CVE-2019-5736).

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  cpSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
} from 'node:fs';
import { readSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KapselError } from '../../src/engine/errors.ts';
import { close, memfd, pipe, reap, spawn } from '../../src/native.ts';
import { attack } from './attack.ts';

const t = suite('spawn');
const scratch = mkdtempSync(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'spawn-'));
const env = ['PATH=/usr/bin:/bin'];

/** Runs a shell script to its end; what it wrote to its stdout. */
async function shell(script: string, fds: (number | null)[] = [], more: { env?: string[]; setsid?: boolean } = {}) {
  const output = memfd('');
  const pid = spawn({ path: '/bin/sh', argv: ['sh', '-c', script], env, fds: [null, output, output, ...fds], ...more });
  const exit = await reap(pid);
  const text = contents(output);
  close(output);
  return { ...exit, pid, text };
}

function contents(fd: number): string {
  const buffer = Buffer.alloc(fstatSync(fd).size);
  return buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, 0));
}

function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd');
}

t('a child has exactly the descriptors it was given', async () => {
  const other = openSync(scratch, constants.O_RDONLY);
  const output = memfd('');
  const [read, write] = pipe();
  const argv = ['ls', '-l', '/proc/self/fd'];
  assert.is((await reap(spawn({ path: '/bin/ls', argv, env, fds: [null, output, null, write, null] }))).exitCode, 0);
  const lines = contents(output).match(/\d+ -> .*/g)!;
  assert.match(lines[0]!, /^0 -> \/dev\/null/);
  assert.match(lines[1]!, /^1 -> \/memfd/);
  assert.match(lines[2]!, /^2 -> \/dev\/null/);
  assert.match(lines[3]!, /^3 -> pipe:/);
  assert.match(lines[4]!, /^4 -> \/dev\/null/);
  // The directory that ls itself reads.
  assert.match(lines[5]!, /^5 -> \/proc\/\d+\/fd/);
  assert.is(lines.length, 6);
  [read, write, output].forEach(close);
  closeSync(other);
});

t('what the parent itself inherited does not reach the child', () => {
  const script = `
    const { spawn, reap } = await import(${JSON.stringify(new URL('../../src/native.ts', import.meta.url).href)});
    const pid = spawn({ path: '/bin/ls', argv: ['ls', '/proc/self/fd'], env: [], fds: [null, 1, 2] });
    process.exitCode = (await reap(pid)).exitCode;`;
  const args = ['--input-type=module', '--eval', script];
  const secret = openSync('/etc/passwd', 'r');
  const stdio = ['ignore', 'pipe', 'inherit', ...Array.from({ length: 60 }, () => secret)] as const;
  const { stdout, status } = spawnSync(process.execPath, args, { stdio: [...stdio], encoding: 'utf8' });
  closeSync(secret);
  assert.is(status, 0);
  // ls itself opens the directory as 3.
  assert.equal(stdout.trim().split('\n'), ['0', '1', '2', '3']);
});

t('descriptors may lie in each other’s way', async () => {
  const files = ['zero', 'one', 'two', 'three', 'four', 'five'].map((text) => memfd(text));
  // Whatever numbers they have: every order of them, and each more than once.
  const highest = Math.max(...files);
  const fds = Array.from({ length: highest + 1 }, (_, target) => files[(target * 5 + 1) % files.length]!);
  const words = ['zero', 'one', 'two', 'three', 'four', 'five'];
  const script = `for fd in $(seq 3 ${highest}); do cat /proc/$$/fd/$fd; echo; done`;
  const output = memfd('');
  const pid = spawn({
    path: '/bin/sh',
    argv: ['sh', '-c', script],
    env,
    fds: [null, output, output, ...fds.slice(3)],
  });
  assert.equal(await reap(pid), { exitCode: 0, signal: null });
  const expected = fds.slice(3).map((fd) => words[files.indexOf(fd)]);
  assert.equal(contents(output).trim().split('\n'), expected);
  [...files, output].forEach(close);
});

t('a descriptor at its own number stays open', async () => {
  const file = memfd('here');
  const fds: (number | null)[] = Array.from({ length: file + 1 }, () => null);
  fds[file] = file;
  const [read, write] = pipe();
  fds[1] = write;
  const pid = spawn({ path: '/bin/cat', argv: ['cat', `/proc/self/fd/${file}`], env, fds });
  assert.equal(await reap(pid), { exitCode: 0, signal: null });
  const buffer = Buffer.alloc(16);
  assert.is(buffer.toString('utf8', 0, readSync(read, buffer)), 'here');
  [file, read, write].forEach(close);
});

t('a child starts with no signal ignored or blocked', async () => {
  // Node ignores SIGPIPE; a program that inherits that never ends in `program | head -1`.
  const { text } = await shell('grep -E "^Sig(Blk|Ign)" /proc/self/status');
  assert.match(text, /SigBlk:\s+0+$/m);
  assert.match(text, /SigIgn:\s+0+$/m);
});

t('a child may have a session of its own', async () => {
  const session = (text: string) => Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[3]);
  const own = await shell('cat /proc/$$/stat', [], { setsid: true });
  assert.is(session(own.text), own.pid);
  const shared = await shell('cat /proc/$$/stat');
  assert.is(session(shared.text), session(readFileSync('/proc/self/stat', 'utf8')));
});

t('the environment is exactly what was given', async () => {
  const output = memfd('');
  const pid = spawn({ path: '/usr/bin/env', argv: ['env'], env: ['A=1', 'B=two words'], fds: [null, output, null] });
  await reap(pid);
  assert.is(contents(output), 'A=1\nB=two words\n');
  close(output);
});

t('reap tells an exit status from a signal, and waits for that child only', async () => {
  assert.equal((await shell('exit 7')).exitCode, 7);
  const { exitCode, signal } = await shell('kill -9 $$');
  assert.equal({ exitCode, signal }, { exitCode: null, signal: os.signals.SIGKILL });
  const slow = spawn({ path: '/bin/sleep', argv: ['sleep', '0.3'], env, fds: [null, null, null] });
  const fast = spawn({ path: '/bin/true', argv: ['true'], env, fds: [null, null, null] });
  const order: string[] = [];
  await Promise.all([reap(slow).then(() => order.push('slow')), reap(fast).then(() => order.push('fast'))]);
  assert.equal(order, ['fast', 'slow']);
  try {
    await reap(fast);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, KapselError);
    assert.is((error as KapselError).errno, os.errno.ESRCH);
  }
});

t('a hundred children are waited for at once', async () => {
  const start = () => reap(spawn({ path: '/bin/true', argv: ['true'], env, fds: [null, null, null] }));
  const exits = await Promise.all(Array.from({ length: 100 }, start));
  assert.ok(exits.every(({ exitCode }) => exitCode === 0));
});

t('waiting for many holds none of libuv’s four threads', async () => {
  const sleeping = Array.from({ length: 16 }, () =>
    spawn({ path: '/bin/sleep', argv: ['sleep', '30'], env, fds: [null, null, null] }),
  );
  const ends = Promise.all(sleeping.map(reap));
  assert.ok((await readFile('/proc/self/stat')).length > 0);
  for (const pid of sleeping) process.kill(pid, 'SIGKILL');
  assert.ok((await ends).every(({ signal }) => signal === os.signals.SIGKILL));
});

t('what cannot be started is an error with its errno, and leaves neither process nor descriptor', () => {
  const before = openDescriptors().length;
  const attempt = (path: string) => {
    try {
      spawn({ path, argv: ['x'], env, fds: [null, null, null] });
    } catch (error) {
      return (error as KapselError).errno;
    }
    return assert.unreachable(path);
  };
  const text = join(scratch, 'text');
  writeFileSync(text, 'no program');
  assert.is(attempt('/nonexistent'), os.errno.ENOENT);
  assert.is(attempt(text), os.errno.EACCES);
  chmodSync(text, 0o755);
  assert.is(attempt(text), os.errno.ENOEXEC);
  assert.throws(
    () => spawn({ path: '/bin/true', argv: ['a\0b'], env, fds: [] }),
    (error: KapselError) => error.code === 'ARGUMENT_INVALID',
  );
  assert.throws(
    () => spawn({ path: '/bin/true', argv: ['true'], env, fds: [9999] }),
    (error: KapselError) => error.errno === os.errno.EBADF,
  );
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();
  assert.is(children, '');
  // One for the text file's executable form, which is kept for the next time.
  assert.ok(openDescriptors().length <= before + 2);
});

const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

t('the executable cannot be written to through a process that runs it, or ran it', async () => {
  const program = join(scratch, 'cat');
  copyFileSync('/bin/cat', program);
  const before = hash(program);
  const outcomes = await attack(program);
  const asRoot = process.getuid!() === 0;
  assert.equal(outcomes, ['ETXTBSY', asRoot ? 'EROFS' : 'EPERM']);
  assert.is(hash(program), before);
});

t('nor by an ordinary user whose file it is', () => {
  if (process.getuid!() !== 0) return;
  // That user may not see this repository, nor its Node: both are copied to where it may.
  const directory = mkdtempSync(join(tmpdir(), 'kapsel-test-user-'));
  chmodSync(directory, 0o755);
  const repository = new URL('../../', import.meta.url).pathname;
  for (const path of ['package.json', 'npm', 'src/native.ts', 'src/native', 'src/engine/errors.ts']) {
    cpSync(join(repository, path), join(directory, path), { recursive: true });
  }
  cpSync(join(repository, 'test/native/attack.ts'), join(directory, 'test/native/attack.ts'));
  const node = join(directory, 'node');
  copyFileSync(process.execPath, node);
  const program = join(directory, 'cat');
  copyFileSync('/bin/cat', program);
  chownSync(program, 65534, 65534);
  const before = hash(program);
  const script = `
    const { attack } = await import(${JSON.stringify(join(directory, 'test/native/attack.ts'))});
    process.stdout.write(JSON.stringify(await attack(process.argv[1])));`;
  const args = ['--input-type=module', '--eval', script, program];
  const { stdout, stderr } = spawnSync(node, args, { cwd: directory, uid: 65534, gid: 65534, encoding: 'utf8' });
  const after = hash(program);
  rmSync(directory, { recursive: true });
  assert.is(stdout, '["ETXTBSY","EPERM"]', stderr);
  assert.is(after, before);
});

t.run();
