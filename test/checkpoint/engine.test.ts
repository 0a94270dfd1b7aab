// `kapsel checkpoint` and `kapsel restore`, by a real CRIU: on a second engine root, in another network namespace.

import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { type Container, Engine } from '../../src/index.ts';
import { runtimePath } from '../../src/native.ts';
import { run, scratch, testEngine, type Census, type CommandResult, type TestEngine } from '../harness/engine.ts';
import { criu } from './criu.ts';

const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
const image = 'host:bash,cat,flock,mkfifo,rm,sleep';

/** Answers each line that is put into /ask with how many there were; a child of it lives all the time. */
const counter = `
  rm -f /etc/removed; mkfifo /ask; exec 3<> /ask; n=0; sleep 100000 & child=$!
  trap 'exit 7' TERM
  echo "ready $$ $child"
  while read line <&3; do
    n=$((n + 1))
    echo "$n $line $$ $child $(cat /proc/$child/comm) $(cat /proc/sys/kernel/hostname)"
  done`;

const t = suite('checkpoint and restore');
let here: TestEngine;
let there: TestEngine;
let before: Census[];
let namespace: ChildProcess;

t.before(async () => {
  process.env['KAPSEL_CRIU'] = await criu('trixie');
  [here, there] = [await testEngine(), await testEngine()];
  for (const test of [here, there]) await test.engine.images.ensure(image);
  before = [await here.census(), await there.census()];
  namespace = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up; echo up; exec sleep 100000'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(namespace.stdout!, 'data');
});

t.after(async () => {
  namespace.kill('SIGKILL');
  assert.equal([await here.census(), await there.census()], before);
  for (const test of [here, there]) await test.close();
});

t.after.each(async () => {
  for (const test of [here, there]) {
    for (const { id } of await test.engine.containers.list({ all: true })) {
      await (await test.engine.containers.get(id)).remove({ force: true });
    }
  }
});

/** A program in the test's network namespace: the other host. */
function elsewhere(command: string, args: string[], env: Record<string, string> = {}): Promise<CommandResult> {
  return run('nsenter', [`--net=/proc/${namespace.pid}/ns/net`, command, ...args], { env });
}

function kapselElsewhere(test: TestEngine, args: string[], env: Record<string, string> = {}): Promise<CommandResult> {
  return elsewhere(process.execPath, [cli, ...args], { ...test.env, ...env });
}

function succeeded({ exitCode, stderr, stdout }: CommandResult): string {
  assert.is(exitCode, 0, stderr);
  return stdout.trim();
}

async function startCounter(test: TestEngine, options: object = {}): Promise<Container> {
  const container = await test.engine.containers.start(image, { command: ['bash', '-c', counter], ...options });
  assert.match(await lastLine(container, 'ready'), /^ready \d+ \d+$/);
  return container;
}

/** The first line of its log that begins so. */
async function lastLine(container: Container, beginning: string): Promise<string> {
  for await (const { text } of container.logs({ follow: true })) {
    if (text.startsWith(beginning)) return text.trim();
  }
  throw new Error(`the log has no line ${beginning}`);
}

async function ask(container: Container, count: number, word: string): Promise<string[]> {
  const { exitCode, stderr } = await container.exec({ command: ['bash', '-c', `echo ${word} > /ask`] });
  assert.is(exitCode, 0, stderr);
  return (await lastLine(container, `${count} ${word}`)).split(' ');
}

t('a program whose monitor had waited for it goes on as any other', async () => {
  await using engine = new Engine({ ...here.options, spares: 1 });
  await engine.containers.run(image, { command: ['bash', '-c', ':'] });
  await setTimeout(500);
  const container = await startCounter({ engine } as TestEngine);
  const { State } = await container.inspect();
  const [, monitor] = /^PPid:\t(\d+)$/m.exec(await readFile(`/proc/${State.Pid}/status`, 'utf8'))!;
  assert.match(await readFile(`/proc/${monitor}/cmdline`, 'utf8'), '\0spare');
  const [, , pid, child] = await ask(container, 1, 'one');
  await container.checkpoint();
  await container.restore();
  assert.equal((await ask(container, 2, 'two')).slice(0, 4), ['2', 'two', pid, child]);
});

t('a program goes on elsewhere, with its memory, its process ids and its output', async () => {
  const archive = join(scratch, 'counter.tar.zst');
  const container = await startCounter(here, { name: 'counter', hostname: 'wanderer' });
  await ask(container, 1, 'one');
  const [, , pid, child] = await ask(container, 2, 'two');
  assert.is(succeeded(await here.kapsel(['checkpoint', '--export', archive, 'counter'])), 'counter');
  assert.is((await container.inspect()).State.Status, 'exited');

  const id = succeeded(await kapselElsewhere(there, ['restore', archive]));
  assert.is(id, container.id);
  const restored = await there.engine.containers.get('counter');
  const { State } = await restored.inspect();
  assert.is(State.Status, 'running');
  assert.equal(await ask(restored, 3, 'three'), ['3', 'three', pid, child, 'sleep', 'wanderer']);
  assert.equal(await readdir(join(there.root, 'containers', id)), [
    'log',
    'restore.log',
    'stats-restore',
    'upper',
    'work',
  ]);

  await restored.pause();
  await restored.unpause();
  await restored.stop();
  assert.is((await restored.wait()).exitCode, 7, 'its handler of SIGTERM is there still');
  await rm(archive);
});

t('what it changed in its root goes with it, also what it removed', async () => {
  const archive = join(scratch, 'changes.tar');
  const script =
    'echo new > /tmp/new; rm /etc/nsswitch.conf /etc/group; mkdir /a; echo deep > /a/deep; echo done; sleep 100000';
  const own = 'host:bash,cat,ls,mkdir,rm,sleep';
  for (const test of [here, there]) await test.engine.images.ensure(own);
  const container = await here.engine.containers.start(own, { command: ['bash', '-c', script] });
  await lastLine(container, 'done');
  const listing = async (one: Container) =>
    (await one.exec({ command: ['bash', '-c', 'cat /tmp/new /a/deep; ls /etc'] })).stdout;
  const listed = await listing(container);
  assert.not.match(listed, /group/);
  await container.checkpoint({ export: archive, compress: 'none' });
  const restored = await there.engine.containers.restore(archive);
  assert.is(await listing(restored), listed);
  const { stdout } = await run('tar', ['-xOf', archive, 'deleted.files']);
  assert.ok((JSON.parse(stdout) as string[]).includes('/etc/group'));
  for (const test of [here, there]) {
    for (const { id } of await test.engine.containers.list({ all: true }))
      await (await test.engine.containers.get(id)).remove({ force: true });
    await test.engine.images.remove(own);
  }
});

t('the archive is the one that podman, CRI-O and containerd share', async () => {
  const archive = join(scratch, 'shared.tar.gz');
  const container = await startCounter(here, { name: 'shared' });
  await container.checkpoint({ export: archive, compress: 'gzip', leaveRunning: true });
  const names = (await run('tar', ['-tzf', archive])).stdout.split('\n');
  for (const name of ['config.dump', 'spec.dump', 'network.status', 'dump.log', 'stats-dump', 'rootfs-diff.tar']) {
    assert.ok(names.includes(name), name);
  }
  for (const name of ['checkpoint/inventory.img', 'checkpoint/pstree.img', 'checkpoint/descriptors.json']) {
    assert.ok(names.includes(name), name);
  }
  const document = async (name: string) =>
    JSON.parse((await run('tar', ['-xzOf', archive, name])).stdout) as Record<string, any>;
  const config = await document('config.dump');
  assert.equal([config['id'], config['name'], config['rootfsImageName']], [container.id, 'shared', image]);
  assert.ok(Date.parse(config['createdTime']) <= Date.parse(config['checkpointedTime']));
  const spec = await document('spec.dump');
  assert.equal([spec['ociVersion'], spec['process'].args[0]], ['1.3.0', 'bash']);
  assert.ok(((await document('checkpoint/descriptors.json')) as unknown as string[])[1]!.startsWith('pipe:['));
  await rm(archive);
});

t('one that is left running goes on, and its copy goes on from where it was', async () => {
  const archive = join(scratch, 'copy.tar.zst');
  const container = await startCounter(here, { name: 'original' });
  await ask(container, 1, 'before');
  await container.checkpoint({ export: archive, leaveRunning: true });
  await ask(container, 2, 'original');
  await ask(container, 3, 'original');
  assert.match((await here.kapsel(['restore', archive])).stderr, /its container is here still/);
  const copy = await here.engine.containers.restore(archive, { name: 'copy' });
  assert.is.not(copy.id, container.id);
  assert.is((await ask(copy, 2, 'copy'))[0], '2');
  assert.is((await ask(container, 4, 'original'))[0], '4');
  await rm(archive);
});

t('without an archive it goes on where it was', async () => {
  const container = await startCounter(here, { name: 'local' });
  await ask(container, 1, 'one');
  assert.match(
    (await here.kapsel(['restore', 'local'])).stderr,
    /^kapsel: container local has no checkpoint: make one/,
  );
  succeeded(await here.kapsel(['checkpoint', 'local']));
  succeeded(await here.kapsel(['restore', '--keep', 'local']));
  assert.is((await ask(container, 2, 'two'))[0], '2');
  await container.kill();
  await container.restore();
  assert.is((await ask(container, 2, 'again'))[0], '2', 'the checkpoint was kept');
});

t('an established connection survives', async () => {
  const archive = join(scratch, 'tcp.tar.zst');
  const server = join(scratch, 'server.mjs');
  // Says how often it was spoken to, on one connection; another one would begin anew.
  await writeFile(
    server,
    `import { createServer } from 'node:net';
     createServer((socket) => {
       let count = 0;
       socket.on('data', (data) => socket.write(\`\${++count} \${data}\`));
     }).listen(4711, '127.0.0.1', () => console.log('listening'));`,
  );
  const listening = spawn('nsenter', [`--net=/proc/${namespace.pid}/ns/net`, process.execPath, server]);
  try {
    await once(listening.stdout, 'data');
    const talk = `mkfifo /ask; exec 4<> /ask 3<> /dev/tcp/127.0.0.1/4711; echo ready
      while read line <&4; do echo "$line" >&3; read answer <&3; echo "$answer"; done`;
    // CRIU 4.1 asks a TCP socket what Linux 6.16 tells of no such socket any more; 4.2 does not.
    const newer = { KAPSEL_CRIU: await criu('forky') };
    const started = ['run', '-d', '--name', 'tcp', '--network', 'host', image, 'bash', '-c', talk];
    succeeded(await kapselElsewhere(here, started, newer));
    const container = await here.engine.containers.get('tcp');
    await lastLine(container, 'ready');
    await ask(container, 1, 'hello');
    const refused = await kapselElsewhere(here, ['checkpoint', '--export', archive, 'tcp']);
    assert.is(refused.exitCode, 1);
    assert.match(refused.stderr, /^kapsel: cannot checkpoint the container: .*\n$/);
    await ask(container, 2, 'still');
    succeeded(await kapselElsewhere(here, ['checkpoint', '--tcp-established', '--export', archive, 'tcp']));
    succeeded(await kapselElsewhere(there, ['restore', '--tcp-established', archive], newer));
    assert.is((await ask(await there.engine.containers.get('tcp'), 3, 'again'))[0], '3');
  } finally {
    listening.kill('SIGKILL');
    await rm(archive, { force: true });
  }
});

t('an init of our own is ours again, and cannot be written', async () => {
  const before = createHash('sha256')
    .update(await readFile(runtimePath()))
    .digest('hex');
  const container = await startCounter(here, { name: 'init', init: true });
  const [, , pid] = await ask(container, 1, 'one');
  assert.is.not(pid, '1');
  await container.checkpoint();
  await container.restore();
  assert.is((await ask(container, 2, 'two'))[2], pid);
  // CVE-2019-5736.
  const { exitCode } = await container.exec({ command: ['bash', '-c', 'exec 4<> /proc/1/exe'] });
  assert.is(exitCode, 1);
  await container.stop();
  assert.is((await container.wait()).exitCode, 7, 'it passes signals on');
  assert.is(
    createHash('sha256')
      .update(await readFile(runtimePath()))
      .digest('hex'),
    before,
  );
});

t('a file that is locked needs --file-locks', async () => {
  const script = `exec 9> /lock; flock 9; ${counter}`;
  const container = await here.engine.containers.start(image, { name: 'locked', command: ['bash', '-c', script] });
  await lastLine(container, 'ready');
  const { exitCode, stderr } = await here.kapsel(['checkpoint', 'locked']);
  assert.is(exitCode, 1);
  assert.match(stderr, /^kapsel: cannot checkpoint the container: .*--file-locks.*\n$/);
  succeeded(await here.kapsel(['checkpoint', '--file-locks', 'locked']));
  succeeded(await here.kapsel(['restore', '--file-locks', 'locked']));
  assert.is((await container.exec({ command: ['flock', '-n', '/lock', 'cat', '/dev/null'] })).exitCode, 1);
});

t('a terminal is attached to again', async () => {
  const archive = join(scratch, 'terminal.tar.zst');
  const container = await here.engine.containers.start(image, {
    command: ['bash', '-c', 'n=0; echo ready; while read line; do n=$((n + 1)); echo "$n $line"; done'],
    tty: true,
    interactive: true,
  });
  const say = async (one: Container, word: string, expected: RegExp) => {
    const streams = await one.attach();
    streams.exited.catch(() => {});
    streams.stdin!.write(`${word}\n`);
    let seen = '';
    for await (const chunk of streams.stdout) {
      seen += String(chunk);
      if (expected.test(seen)) break;
    }
    assert.match(seen, expected);
    streams.close();
  };
  await lastLine(container, 'ready');
  await say(container, 'one', /1 one/);
  await container.checkpoint({ export: archive });
  const restored = await there.engine.containers.restore(archive);
  await say(restored, 'two', /2 two/);
  await rm(archive);
});

t('without CRIU there is one line, and everything is as it was', async () => {
  const container = await startCounter(here, { name: 'alone' });
  const census = await here.census();
  const files = await readdir(join(here.root, 'containers', container.id));
  const env = { KAPSEL_CRIU: '/nowhere/criu' };
  // The monitor looks for it in its own environment, which is that of whoever started the container.
  const lacking = await here.kapsel(['run', '-d', '--name', 'lacking', image, 'sleep', '1000'], { env });
  succeeded(lacking);
  const { exitCode, stderr } = await here.kapsel(['checkpoint', '--export', join(scratch, 'none.tar'), 'lacking']);
  assert.is(exitCode, 1);
  assert.is(
    stderr,
    'kapsel: checkpoint needs the program criu (4.0 or later): install it, or set its path in KAPSEL_CRIU\n',
  );
  assert.not.ok(existsSync(join(scratch, 'none.tar')));
  const one = await here.engine.containers.get('lacking');
  assert.is((await one.inspect()).State.Status, 'running');
  await one.remove({ force: true });
  assert.equal(await here.census(), census);
  assert.equal(await readdir(join(here.root, 'containers', container.id)), files);
  assert.is((await ask(container, 1, 'on'))[0], '1');
});

t('what cannot be restored leaves nothing', async () => {
  const archive = join(scratch, 'bad.tar');
  const census = await there.census();
  const complaint = async (expected: RegExp) => {
    const { exitCode, stderr } = await there.kapsel(['restore', archive]);
    assert.is(exitCode, 1, stderr);
    assert.match(stderr, expected, stderr);
    assert.is(stderr.split('\n').length, 2, stderr);
    assert.equal(await there.census(), census);
    assert.equal(await there.engine.containers.list({ all: true }), []);
  };
  await complaint(/there is no such file/);
  await writeFile(archive, 'no archive');
  await complaint(/./);
  await run('tar', ['-cf', archive, '-C', '/etc', 'passwd']);
  await complaint(/no checkpoint/);
  const container = await startCounter(here);
  await container.checkpoint({ export: archive, compress: 'none' });
  // One image of CRIU's is missing.
  const repack = `mkdir "$1.d" && tar -xf "$1" -C "$1.d" && rm "$1.d/checkpoint/pstree.img" && tar -cf "$1" -C "$1.d" .`;
  assert.is((await run('sh', ['-ec', repack, 'sh', archive])).exitCode, 0);
  await complaint(/^kapsel: cannot restore the container: /);
});

t('what cannot be checkpointed goes on', async () => {
  const container = await startCounter(here, { name: 'paused', rm: true });
  await container.pause();
  assert.match((await here.kapsel(['checkpoint', '-R', 'paused'])).stderr, /the container is paused/);
  await container.unpause();
  assert.match((await here.kapsel(['checkpoint', 'paused'])).stderr, /is of --rm/);
  const other = await here.engine.containers.start(image, { command: ['sleep', '1000'], userns: '100000:65536' });
  assert.match(
    (await here.kapsel(['checkpoint', other.id])).stderr,
    /it has a user namespace, and could not be restored/,
  );
  assert.is((await other.inspect()).State.Status, 'running');
  await ask(container, 1, 'on');
  await container.kill();
  assert.match((await here.kapsel(['checkpoint', 'paused'])).stderr, /No such container|not running/);
  assert.not.match(await readFile('/proc/self/mountinfo', 'utf8'), /criu-root/);
});

t.run();
