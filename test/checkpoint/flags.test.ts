// Each flag of `checkpoint` and `restore` that the contract names, on a container that needs it: without the flag CRIU
// refuses (one line says what to do, and the container goes on), with it the container is brought back.
// deadline: 180

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, readdir, rm, stat } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { Containers, counter, type Bundle, type Changes, type Speaker } from './containers.ts';

const t = suite('the flags of checkpoint and restore');
let all: Containers;
const helpers: ChildProcess[] = [];

t.before(async () => {
  // Since Linux 6.16 a TCP socket has no SO_PASSCRED, which 4.1 asks for.
  all = await Containers.make('forky');
});

t.after(() => all.close());

t.after.each(async () => {
  for (const helper of helpers.splice(0)) {
    helper.kill('SIGKILL');
    if (helper.exitCode === null && helper.signalCode === null) await once(helper, 'exit');
  }
  await all.clear();
});

/** A program of the host's that ends with the test, and the lines it prints. */
function helper(command: string, args: string[]): { child: ChildProcess; line: () => Promise<string> } {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  helpers.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, line: async () => ((await lines.next()) as { value: string }).value };
}

/** The host's Python runs in the container. */
function python(script: string): Changes {
  const bound = (name: string) => ({ destination: `/${name}`, type: 'bind', source: `/usr/${name}`, options: ['ro'] });
  return {
    args: ['/usr/bin/python3', '-uc', script],
    mounts: [{ ...bound('usr'), source: '/usr' }, bound('lib'), bound('lib64')],
  };
}

/** Needs the flag to be dumped; then it is brought back, with the flag too where `restore` knows it. */
async function needs(made: Bundle, flag: string, refusal: RegExp, restoring: string[] = [flag]): Promise<Speaker> {
  await all.complains(refusal, ['checkpoint', '--image-path', made.images, made.id]);
  assert.is((await all.state(made.id)).status, 'running');
  await rm(made.images, { recursive: true });
  await all.succeeds(['checkpoint', flag, '--image-path', made.images, made.id]);
  return all.restore(made, restoring);
}

t('--file-locks: a lock is held on', async () => {
  const locks = `import fcntl, os
lock = open('/tmp/lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX); os.mkfifo('/ask'); ask = os.open('/ask', os.O_RDWR)
print('ready')
while True: print(1, os.read(ask, 100).decode().strip())`;
  const made = await all.bundle('', python(locks));
  await all.start(made);
  const speaker = await needs(made, '--file-locks', /file-locks/);
  await all.ask(made.id, 'on');
  assert.is(await speaker.line(), '1 on');
  const tries = `import fcntl; fcntl.flock(open('/tmp/lock'), fcntl.LOCK_EX | fcntl.LOCK_NB)`;
  const other = await all.runtime(['exec', made.id, '/usr/bin/python3', '-c', tries]);
  assert.match(other.stderr, /BlockingIOError/);
});

t('--link-remap: a file that was unlinked, and has another name, is open on', async () => {
  const script = `rm -f /tmp/a /tmp/b; echo text > /tmp/a; exec 4< /tmp/a; ln /tmp/a /tmp/b; rm /tmp/a
    mkfifo /ask; exec 3<> /ask; echo ready; read line <&3; cat <&4; read line <&3`;
  const made = await all.bundle(script);
  await all.start(made);
  const speaker = await needs(made, '--link-remap', /link-remap/, []);
  await all.ask(made.id, 'on');
  assert.is(await speaker.line(), 'text');
});

t('--ext-unix-sk: a socket of the host is spoken to on', async () => {
  // By a name that leads to it in the container, too.
  const place = join(all.directory, 'sockets');
  const address = join(place, 'host.sock');
  await mkdir(place);
  const listener = `import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.bind(${JSON.stringify(address)})\nprint('listening')\nwhile True: print(s.recv(100).decode())`;
  const host = helper('python3', ['-uc', listener]);
  assert.is(await host.line(), 'listening');
  const speaks = `import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(${JSON.stringify(address)}); os.mkfifo('/ask')
ask = os.open('/ask', os.O_RDWR); print('ready')
while True: s.send(os.read(ask, 100).strip())`;
  // CRIU knows the sockets of the container's network namespace, so the host's must be there.
  const namespaces = ['pid', 'mount', 'ipc', 'uts', 'cgroup'].map((type) => ({ type }));
  const { args, mounts } = python(speaks);
  const shared = { destination: place, type: 'bind', source: place, options: ['rbind'] };
  const made = await all.bundle('', { args, mounts: [...mounts!, shared], linux: { namespaces } });
  await all.start(made);
  await all.ask(made.id, 'one');
  assert.is(await host.line(), 'one');
  await needs(made, '--ext-unix-sk', /ext-unix-sk|without peer/);
  await all.ask(made.id, 'two');
  assert.is(await host.line(), 'two');
});

t('--tcp-skip-in-flight: a connection that nobody has accepted is given up', async () => {
  const listens = `import os, socket
s = socket.create_server(('127.0.0.1', 4711)); os.mkfifo('/ask'); ask = os.open('/ask', os.O_RDWR); print('ready')
os.read(ask, 100); s.setblocking(False)
try: s.accept(); print('accepted')
except BlockingIOError: print('nobody')`;
  const made = await all.bundle('', python(listens));
  await all.start(made);
  const { pid } = await all.state(made.id);
  const connects = `import socket, time\ns = socket.create_connection(('127.0.0.1', 4711)); print('connected'); time.sleep(1000)`;
  const client = helper('nsenter', ['--net', '--target', String(pid), 'python3', '-uc', connects]);
  assert.is(await client.line(), 'connected');
  const speaker = await needs(made, '--tcp-skip-in-flight', /in-flight/i, []);
  await all.ask(made.id, 'on');
  assert.is(await speaker.line(), 'nobody');
});

t('--empty-ns network: what is in the network namespace is left out', async () => {
  const made = await all.bundle(counter);
  await all.start(made);
  const loopback = (id: string) => all.succeeds(['exec', id, 'cat', '/sys/class/net/lo/flags']);
  assert.is(await loopback(made.id), '0x9');
  await all.succeeds(['checkpoint', '--empty-ns=network', '--image-path', made.images, made.id]);
  assert.not((await readdir(made.images)).some((name) => name.startsWith('netdev-')));
  await all.restore(made, ['--empty-ns=network']);
  assert.is(await loopback(made.id), '0x8');
});

for (const flags of [[], ['--shell-job']]) {
  t(`${flags.join('') || 'no flag'}: a terminal of the caller is another one afterwards`, async () => {
    const made = await all.bundle('n=0; echo ready; while read line; do n=$((n + 1)); echo "$n $line"; done');
    const first = all.inTerminal(['run', '--bundle', made.path, made.id]);
    await first.sees(/ready/);
    first.child.stdin.write('one\r');
    await first.sees(/1 one/);
    const images = ['--image-path', made.images];
    await all.succeeds(['checkpoint', ...flags, ...images, made.id]);
    const second = all.inTerminal(['restore', ...flags, '--bundle', made.path, ...images, made.id]);
    second.child.stdin.write('two\r');
    await second.sees(/2 two/);
  });
}

for (const mode of ['soft', 'full', 'ignore']) {
  t(`--manage-cgroups-mode ${mode}: it is in its cgroup again`, async () => {
    const made = await all.bundle(counter);
    await all.start(made);
    await all.succeeds(['checkpoint', `--manage-cgroups-mode=${mode}`, '--image-path', made.images, made.id]);
    const speaker = await all.restore(made, [`--manage-cgroups-mode=${mode}`]);
    await all.ask(made.id, 'on');
    assert.match(await speaker.line(), /^1 on /);
    const { pid } = await all.state(made.id);
    const cgroup = `${all.cgroupParent}/${made.id}`;
    assert.match(await readFile(`/proc/${pid}/cgroup`, 'utf8'), new RegExp(`:pids:${cgroup}\n`));
    assert.is((await readFile(`/sys/fs/cgroup/pids${cgroup}/pids.max`, 'utf8')).trim(), '50');
  });
}

t('--manage-cgroups-mode strict: its cgroup is there already, which is one line', async () => {
  const made = await all.bundle(counter);
  await all.start(made);
  const flags = ['--manage-cgroups-mode=strict', '--image-path', made.images];
  await all.succeeds(['checkpoint', ...flags, made.id]);
  await all.complains(/existing cgroups/, ['restore', '--detach', '--bundle', made.path, ...flags, made.id]);
  assert.match((await all.runtime(['state', made.id])).stderr, /does not exist/);
});

t('--auto-dedup: images are given up as they become memory', async () => {
  const made = await all.bundle(counter);
  await all.start(made);
  await all.succeeds(['checkpoint', '--auto-dedup', '--image-path', made.images, made.id]);
  const blocks = async () => (await stat(join(made.images, 'pages-1.img'))).blocks;
  const before = await blocks();
  const speaker = await all.restore(made, ['--auto-dedup']);
  await all.ask(made.id, 'on');
  assert.match(await speaker.line(), /^1 on /);
  assert.ok((await blocks()) < before, `${await blocks()} of ${before}`);
});

t('--lsm-profile and --lsm-mount-context: without a security module they are one clear line', async () => {
  const made = await all.bundle(counter);
  await all.start(made);
  await all.succeeds(['checkpoint', '--image-path', made.images, made.id]);
  const words = ['restore', '--detach', '--bundle', made.path, '--image-path', made.images];
  const without = /cannot restore the container: apparmor LSM specified but apparmor not supported by kernel/;
  await all.complains(without, [...words, '--lsm-profile=apparmor:other', made.id]);
  const speaker = await all.restore(made, ['--lsm-mount-context=system_u:object_r:other:s0']);
  await all.ask(made.id, 'on');
  assert.match(await speaker.line(), /^1 on /);
});

/** A port of the loopback that nobody uses. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

t('--page-server: memory goes elsewhere, and is the same', async () => {
  const made = await all.bundle(counter);
  await all.start(made);
  const [elsewhere, port] = [join(made.path, 'elsewhere'), await freePort()];
  await mkdir(elsewhere);
  const words = ['page-server', '--images-dir', elsewhere, '--address', '127.0.0.1', '--port', String(port)];
  const server = helper(all.program, [...words, '--status-fd', '1']);
  // It tells with a zero byte that it listens.
  await once(server.child.stdout!, 'data');
  const flag = `--page-server=127.0.0.1:${port}`;
  await all.succeeds(['checkpoint', flag, '--image-path', made.images, made.id]);
  if (server.child.exitCode === null) await once(server.child, 'exit');
  const pages = (await readdir(elsewhere)).filter((name) => /^pages|^pagemap/.test(name));
  assert.ok(pages.length >= 2, String(pages));
  assert.not((await readdir(made.images)).some((name) => name.startsWith('pages')));
  for (const name of pages) await copyFile(join(elsewhere, name), join(made.images, name));
  const speaker = await all.restore(made);
  await all.ask(made.id, 'on');
  assert.match(await speaker.line(), /^1 on /);
});

t('--lazy-pages and --status-fd: who waits is told that the memory can be fetched', async () => {
  const made = await all.bundle(counter);
  await all.start(made);
  const port = await freePort();
  const flags = ['--lazy-pages', `--page-server=127.0.0.1:${port}`, '--image-path', made.images];
  if (spawnSync(all.program, ['check', '--feature', 'uffd-noncoop']).status !== 0) {
    return all.complains(/userfaultfd/, ['checkpoint', ...flags, made.id]);
  }
  const dump = all.spawn(['checkpoint', ...flags, '--status-fd', '3', made.id], ['ignore', 'ignore', 'ignore', 'pipe']);
  const ended = once(dump, 'exit');
  const [told] = (await once(dump.stdio[3]!, 'data')) as [Buffer];
  assert.equal([...told], [0]);
  // All but what is lazy has been written; the server listens, and ends with the one who has come to fetch the rest.
  assert.ok((await readdir(made.images)).includes('inventory.img'));
  const client = connect(port, '127.0.0.1');
  await once(client, 'connect');
  client.end();
  await ended;
});

t('restore --console-socket --detach: somebody else gets the terminal', async () => {
  const script = 'n=0; echo ready; while read line; do n=$((n + 1)); echo "$n $line"; done';
  const made = await all.bundle(script, { terminal: true });
  const first = all.inTerminal(['run', '--bundle', made.path, made.id]);
  await first.sees(/ready/);
  first.child.stdin.write('one\r');
  await first.sees(/1 one/);
  await all.succeeds(['checkpoint', '--image-path', made.images, made.id]);
  const socket = join(made.path, 'console');
  const receives = `import os, socket
s = socket.socket(socket.AF_UNIX); s.bind(${JSON.stringify(socket)}); s.listen(); print('listening')
fd = socket.recv_fds(s.accept()[0], 100, 1)[1][0]; print('received')
s.accept(); os.write(fd, b'two\\n'); seen = b''
while b'2 two' not in seen: seen += os.read(fd, 100)
print('answered')`;
  const receiver = helper('python3', ['-uc', receives]);
  assert.is(await receiver.line(), 'listening');
  const words = ['restore', '--detach', '--bundle', made.path, '--image-path', made.images];
  await all.complains(/--console-socket/, [...words, made.id]);
  await all.succeeds([...words, '--console-socket', socket, made.id]);
  assert.is(await receiver.line(), 'received');
  // It types once the container runs.
  connect(socket).end();
  assert.is(await receiver.line(), 'answered');
});

t.run();
