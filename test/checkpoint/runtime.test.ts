// `kapsel-runtime checkpoint` and `restore`, as podman, CRI-O and containerd call them, by a real CRIU.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { close, pipe, runtimePath } from '../../src/native.ts';
import { removeCgroups, run, scratch, type CommandResult } from '../harness/engine.ts';
import { criu } from './criu.ts';

/** Answers each line of /ask with how many there were; a child of it lives all the time. */
const counter = `mkfifo /ask; exec 3<> /ask; n=0; sleep 100000 & child=$!; echo "ready $child"
while read line <&3; do n=$((n + 1)); echo "$n $line $child"; done`;

const t = suite('kapsel-runtime checkpoint and restore');
let directory: string;
let cgroupParent: string;
let program: string;
let before: object;
let ids = 0;

t.before(async () => {
  program = await criu('trixie');
  directory = await mkdtemp(join(scratch, 'runtime-'));
  cgroupParent = `/${basename(scratch)}-${basename(directory)}`;
  const bin = join(directory, 'rootfs', 'bin');
  for (const name of ['bin', 'proc', 'sys', 'dev', 'tmp', 'data']) {
    await mkdir(join(directory, 'rootfs', name), { recursive: true });
  }
  await copyFile('/bin/busybox', join(bin, 'busybox'));
  await chmod(join(bin, 'busybox'), 0o755);
  for (const name of ['sh', 'cat', 'echo', 'mkfifo', 'sleep']) await symlink('busybox', join(bin, name));
  before = await census();
});

t.after(async () => {
  assert.equal(await census(), before);
  await removeCgroups(cgroupParent);
  await rm(directory, { recursive: true, force: true });
});

t.after.each(async () => {
  for (const id of await readdir(join(directory, 'state')).catch(() => [])) {
    if (!id.startsWith('@')) await runtime(['delete', '--force', id]);
  }
  await rm(join(directory, 'rootfs', 'ask'), { force: true });
});

async function census(): Promise<object> {
  const cgroups = await readdir(join('/sys/fs/cgroup/pids', cgroupParent), { withFileTypes: true }).catch(() => []);
  return {
    mounts: (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').length,
    cgroups: cgroups.filter((entry) => entry.isDirectory()).length,
  };
}

function runtime(args: string[], env: Record<string, string> = {}): Promise<CommandResult> {
  const global = ['--root', join(directory, 'state')];
  return run(runtimePath(), [...global, ...args], { env: { KAPSEL_CRIU: program, ...env } });
}

async function succeeds(args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runtime(args);
  assert.is(exitCode, 0, stderr);
  return stdout.trim();
}

interface Bundle {
  path: string;
  id: string;
  images: string;
}

async function bundle(
  script: string,
  changes: { linux?: object; mounts?: object[]; terminal?: boolean } = {},
): Promise<Bundle> {
  const id = `c${++ids}`;
  const path = await mkdtemp(join(directory, 'bundle-'));
  const simple = (destination: string, type: string, ...options: string[]) => ({
    destination,
    type,
    source: type,
    options,
  });
  const config = {
    ociVersion: '1.2.0',
    process: {
      terminal: changes.terminal ?? false,
      cwd: '/',
      args: ['sh', '-c', script],
      env: ['PATH=/bin'],
      user: { uid: 0, gid: 0 },
    },
    root: { path: '../rootfs' },
    hostname: id,
    mounts: [
      simple('/proc', 'proc'),
      simple('/dev', 'tmpfs', 'nosuid', 'mode=755'),
      simple('/dev/pts', 'devpts', 'newinstance', 'ptmxmode=0666'),
      simple('/dev/shm', 'tmpfs', 'nosuid'),
      simple('/sys', 'sysfs', 'ro'),
      simple('/sys/fs/cgroup', 'cgroup', 'ro'),
      ...(changes.mounts ?? []),
    ],
    linux: {
      cgroupsPath: `${cgroupParent}/${id}`,
      namespaces: ['pid', 'mount', 'ipc', 'uts', 'network', 'cgroup'].map((type) => ({ type })),
      maskedPaths: ['/proc/keys', '/proc/acpi'],
      readonlyPaths: ['/proc/sys'],
      resources: { pids: { limit: 50 } },
      ...changes.linux,
    },
  };
  await writeFile(join(path, 'config.json'), JSON.stringify(config));
  return { path, id, images: join(path, 'images') };
}

/** A command whose output is a pipe that becomes the container's, and the lines that come out of it. */
class Speaker {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(args: string[]) {
    // Node's own pipes are sockets.
    const [read, write] = pipe();
    this.child = spawn(runtimePath(), ['--root', join(directory, 'state'), ...args], {
      stdio: ['ignore', write, write],
      env: { ...process.env, KAPSEL_CRIU: program },
    });
    close(write);
    const output = new Socket({ fd: read, readable: true, writable: false });
    this.#lines = createInterface({ input: output })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value } = (await this.#lines.next()) as { value: string };
    return value;
  }
}

function ask(id: string, word: string): Promise<string> {
  return succeeds(['exec', id, 'sh', '-c', `echo ${word} > /ask`]);
}

async function state(id: string): Promise<{ status: string; pid: number }> {
  return JSON.parse(await succeeds(['state', id])) as { status: string; pid: number };
}

t('a container goes on on other pipes, and is a container like any other', async () => {
  const { path, id, images } = await bundle(counter);
  const first = new Speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await first.line()).split(' ');
  await ask(id, 'one');
  assert.is(await first.line(), `1 one ${child}`);
  await succeeds(['checkpoint', '--image-path', images, '--work-path', join(path, 'work'), id]);
  assert.match((await runtime(['state', id])).stderr, /does not exist/);
  assert.ok(existsSync(join(path, 'work', 'dump.log')));
  assert.match(await readFile(join(images, 'descriptors.json'), 'utf8'), /"pipe:\[\d+\]"/);

  const pidFile = join(path, 'pid');
  const flags = ['--image-path', images, '--work-path', join(path, 'work'), '--pid-file', pidFile, '--detach'];
  const second = new Speaker(['restore', '--bundle', path, ...flags, id]);
  await once(second.child, 'exit');
  const { status, pid } = await state(id);
  assert.is(status, 'running');
  assert.is(await readFile(pidFile, 'utf8'), String(pid));
  await ask(id, 'two');
  assert.is(await second.line(), `2 two ${child}`);
  assert.match(await readFile(`/proc/${pid}/cgroup`, 'utf8'), new RegExp(`:pids:${cgroupParent}/${id}\n`));
  assert.is((await readFile(`/sys/fs/cgroup/pids${cgroupParent}/${id}/pids.max`, 'utf8')).trim(), '50');
  await succeeds(['pause', id]);
  assert.is((await state(id)).status, 'paused');
  await succeeds(['resume', id]);
  await succeeds(['kill', id, 'KILL']);
  while ((await state(id)).status !== 'stopped');
  await succeeds(['delete', id]);
});

t('one that is left running is left alone', async () => {
  const { path, id, images } = await bundle(counter);
  const speaker = new Speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await speaker.line()).split(' ');
  await succeeds(['checkpoint', '--leave-running', '--image-path', images, id]);
  await ask(id, 'still');
  assert.is(await speaker.line(), `1 still ${child}`);
});

t('a volume is found again, wherever it is then', async () => {
  const volume = async (name: string, content: string) => {
    const path = await mkdtemp(join(directory, 'volume-'));
    await writeFile(join(path, 'file'), content);
    return { path, mount: { destination: '/data', type: 'bind', source: path, options: ['rbind'] }, name };
  };
  const [one, other] = [await volume('one', 'one'), await volume('other', 'other')];
  const { path, id, images } = await bundle(counter, { mounts: [one.mount] });
  await new Speaker(['run', '--detach', '--bundle', path, id]).line();
  await succeeds(['checkpoint', '--image-path', images, id]);
  const config = await readFile(join(path, 'config.json'), 'utf8');
  await writeFile(join(path, 'config.json'), config.replaceAll(one.path, other.path));
  await once(new Speaker(['restore', '--detach', '--bundle', path, '--image-path', images, id]).child, 'exit');
  assert.is(await succeeds(['exec', id, 'cat', '/data/file']), 'other');
});

t('a network namespace that was given is given again', async () => {
  const holder = async () => {
    const child = spawn('unshare', ['--net', 'sh', '-c', 'echo up; exec sleep 100000'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    return child;
  };
  const [one, other] = [await holder(), await holder()];
  try {
    const of = ({ pid }: ChildProcess) => `/proc/${pid}/ns/net`;
    const namespaces = ['pid', 'mount', 'ipc', 'uts', 'cgroup'].map((type) => ({ type }));
    const given = [...namespaces, { type: 'network', path: of(one) }];
    const { path, id, images } = await bundle(counter, { linux: { namespaces: given } });
    await new Speaker(['run', '--detach', '--bundle', path, id]).line();
    await succeeds(['checkpoint', '--image-path', images, id]);
    const config = await readFile(join(path, 'config.json'), 'utf8');
    await writeFile(join(path, 'config.json'), config.replaceAll(of(one), of(other)));
    await once(new Speaker(['restore', '--detach', '--bundle', path, '--image-path', images, id]).child, 'exit');
    const { pid } = await state(id);
    assert.is(await readlink(`/proc/${pid}/ns/net`), await readlink(of(other)));
  } finally {
    for (const child of [one, other]) child.kill('SIGKILL');
  }
});

t('a terminal goes on on another', async () => {
  const script = 'n=0; echo ready; while read line; do n=$((n + 1)); echo "$n $line"; done';
  const { path, id, images } = await bundle(script, { terminal: true });
  /** The command in the foreground of a terminal of its own. */
  const inTerminal = (args: string[]) => {
    const command = [runtimePath(), '--root', join(directory, 'state'), ...args].join(' ');
    const child = spawn('script', ['-qefc', command, '/dev/null'], { env: { ...process.env, KAPSEL_CRIU: program } });
    let seen = '';
    child.stdout.on('data', (data: Buffer) => (seen += data.toString()));
    const sees = async (expected: RegExp) => {
      while (!expected.test(seen)) await once(child.stdout, 'data');
    };
    return { child, sees };
  };
  const first = inTerminal(['run', '--bundle', path, id]);
  await first.sees(/ready/);
  first.child.stdin.write('one\r');
  await first.sees(/1 one/);
  await succeeds(['checkpoint', '--image-path', images, id]);
  const second = inTerminal(['restore', '--bundle', path, '--image-path', images, id]);
  // It is in its read again once it is told that it runs.
  while ((await runtime(['state', id])).exitCode !== 0 || (await state(id)).status !== 'running');
  second.child.stdin.write('two\r');
  await second.sees(/2 two/);
  second.child.stdin.write('\u0004');
  const [code] = (await once(second.child, 'exit')) as [number];
  assert.is(code, 0);
  assert.match((await runtime(['state', id])).stderr, /does not exist/);
});

t('what cannot be done is one line and leaves everything as it was', async () => {
  const { path, id, images } = await bundle(counter);
  const speaker = new Speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await speaker.line()).split(' ');
  const files = await readdir(path);
  const complains = async (expected: RegExp, args: string[], env: Record<string, string> = {}) => {
    const { exitCode, stderr } = await runtime(args, env);
    assert.is(exitCode, 1, stderr);
    assert.match(stderr, expected, stderr);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
  };
  const missing = /checkpoint needs the program criu \(4\.0 or later\): install it, or set its path in KAPSEL_CRIU/;
  await complains(missing, ['checkpoint', '--image-path', images, id], { KAPSEL_CRIU: '', PATH: '/nowhere' });
  await complains(missing, ['checkpoint', '--image-path', images, id], { KAPSEL_CRIU: '/nowhere/criu' });
  const flags: [string, RegExp][] = [
    ['--manage-cgroups-mode=loud', /soft, full, strict or ignore/],
    ['--empty-ns=mount', /only network/],
    ['--page-server=here', /ADDRESS:PORT/],
    ['--status-fd=77', /not open for writing/],
  ];
  for (const [flag, expected] of flags) await complains(expected, ['checkpoint', flag, '--image-path', images, id]);
  assert.equal(await readdir(path), files);
  await complains(/must be a directory, and relative/, [
    'checkpoint',
    '--parent-path',
    '../none',
    '--image-path',
    images,
    id,
  ]);
  const restoring = ['restore', '--detach', '--bundle'];
  const other = await bundle(counter);
  await complains(/is no directory/, [...restoring, other.path, '--image-path', join(path, 'none'), other.id]);
  assert.match((await runtime(['state', other.id])).stderr, /does not exist/);
  // Its cgroup is another container's, which must not suffer.
  await complains(/cannot replace cgroup/, [...restoring, path, '--image-path', images, 'other']);
  assert.match((await runtime(['state', 'other'])).stderr, /does not exist/);
  await complains(/exists already/, ['restore', '--detach', '--bundle', path, '--image-path', images, id]);
  await ask(id, 'on');
  assert.is(await speaker.line(), `1 on ${child}`);
});

t('what was dumped before is not dumped again, where the kernel can tell', async () => {
  const { path, id, images } = await bundle(counter);
  const speaker = new Speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await speaker.line()).split(' ');
  const early = join(path, 'early');
  const { exitCode, stderr } = await runtime(['checkpoint', '--pre-dump', '--image-path', early, id]);
  if (exitCode !== 0) {
    assert.match(stderr, /this kernel cannot track changed memory \(CONFIG_MEM_SOFT_DIRTY\)/);
  } else {
    await succeeds(['checkpoint', '--parent-path', '../early', '--image-path', images, id]);
    const again = new Speaker(['restore', '--detach', '--bundle', path, '--image-path', images, id]);
    await once(again.child, 'exit');
    await ask(id, 'again');
    assert.is(await again.line(), `1 again ${child}`);
    return;
  }
  await ask(id, 'on');
  assert.is(await speaker.line(), `1 on ${child}`);
});

t.run();
