// An ordinary user’s containers on networks. The machine is a network namespace of this file’s own, with a cable to a second
// machine; the user is one that no file of the system knows.
// deadline: 240

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type CommandResult, run } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url, '--mount', '--propagation', 'private');

const t = suite('an ordinary user’s containers on networks');
const uid = 54_323;
const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
const image = 'host:/usr/bin/python3,bash,busybox,cat,curl,getent,ip,sleep,true';
const [here, there] = ['10.99.0.1', '10.99.0.2'];
const [here6, there6] = ['fd99::1', 'fd99::2'];
let directory: string;
/** A process in the other machine’s network namespace. */
let other: ReturnType<typeof spawn>;
let library: string;

const must = (command: string, ...args: string[]): string => {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.is(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
};
const elsewhere = (script: string): Promise<CommandResult> =>
  run('nsenter', ['--net', '--target', String(other.pid), 'bash', '-c', script]);

t.before(async () => {
  directory = mkdtempSync(`${tmpdir()}/kapsel-test-rootless-`);
  chmodSync(directory, 0o755);
  mkdirSync(`${directory}/home`);
  chownSync(`${directory}/home`, uid, uid);
  mkdirSync(`${directory}/dev`);
  must('mount', '-t', 'tmpfs', 'tmpfs', `${directory}/dev`);
  // Everybody's, as every distribution has it.
  if ((statSync('/dev/net/tun').mode & 0o006) !== 0o006) {
    must('mknod', '-m', '666', `${directory}/dev/tun`, 'c', '10', '200');
    must('mount', '--bind', `${directory}/dev/tun`, '/dev/net/tun');
  }
  // A name that nobody knows is soon known to be none: nobody serves names, and the machine itself says so.
  writeFileSync(`${directory}/resolv.conf`, 'nameserver 127.0.0.1\n');
  must('mount', '--bind', `${directory}/resolv.conf`, '/etc/resolv.conf');
  other = spawn('unshare', ['--net', 'sh', '-c', 'echo; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(other.stdout!, 'data');
  must('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(other.pid));
  const cable = (v4: string, v6: string) =>
    `ip link set lo up; ip addr add ${v4}/24 dev eth0; ip addr add ${v6}/64 dev eth0 nodad; ip link set eth0 up`;
  must('sh', '-c', `${cable(here, here6)}; ip route add default via ${there}; ip route add default via ${there6}`);
  await elsewhere(cable(there, there6));
  spawn('nsenter', ['--net', '--target', String(other.pid), 'busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'], {
    stdio: 'ignore',
  }).unref();
  library = must('/usr/bin/python3', '-c', 'import sysconfig; print(sysconfig.get_path("stdlib"))').trim();
  assert.is((await kapsel('network', 'create', 'web')).exitCode, 0);
});

t.after(async () => {
  for (const pid of processes()) process.kill(pid, 'SIGKILL');
  must('sh', '-c', `nsenter --net --target ${other.pid} sh -c 'kill $(busybox pidof busybox)' || true`);
  other.kill('SIGKILL');
  must('umount', '--lazy', `${directory}/dev`);
  rmSync(directory, { recursive: true, force: true });
});

function kapsel(...args: string[]): Promise<CommandResult> {
  return kapselWith(process.env.PATH!, ...args);
}

function kapselWith(path: string, ...args: string[]): Promise<CommandResult> {
  return run(process.execPath, [cli, ...args], { uid, cwd: '/', env: environment(path) });
}

function environment(path: string): Record<string, string> {
  const home = `${directory}/home`;
  return {
    HOME: home,
    PATH: path,
    KAPSEL_ROOT: `${home}/root`,
    KAPSEL_RUN_ROOT: `${home}/run`,
    KAPSEL_DEFAULT_NETWORK: '',
  };
}

/** Those of the user that live, by the name that the kernel has of them. */
function processes(name = /./): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const field = (label: string) => new RegExp(`^${label}:\\s+(\\S+)`, 'm').exec(status)?.[1] ?? '';
        return field('Uid') === String(uid) && field('State') !== 'Z' && name.test(field('Name'));
      } catch {
        return false;
      }
    });
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.unreachable(what);
}

const uplink = /^(passt|pasta|slirp4netns)/;
const holder = /^kapsel-network$/;
const nothing = () => processes().length === 0;

/** A server, of TCP and UDP at port 80, that tells each client the client’s own address. */
const tell = `
import socketserver, threading
class Tell(socketserver.BaseRequestHandler):
    def handle(self):
        host = self.client_address[0].removeprefix('::ffff:')
        if isinstance(self.request, tuple): self.request[1].sendto(host.encode(), self.client_address)
        else: self.request.sendall(f'HTTP/1.0 200 OK\\r\\n\\r\\n{host}\\n'.encode())
class Four(socketserver.ThreadingTCPServer): allow_reuse_address = True
class Six(Four): address_family = 10
threading.Thread(target=socketserver.UDPServer(('0.0.0.0', 80), Tell).serve_forever).start()
Six(('::', 80), Tell).serve_forever()`;

async function start(name: string, ...flags: string[]): Promise<void> {
  const given = ['--name', name, '-h', name, '-v', `${library}:${library}:ro`, ...flags, image];
  const { exitCode, stderr } = await kapsel('run', '-d', ...given, 'python3', '-c', tell);
  assert.is(exitCode, 0, stderr);
  await until(`${name} listens`, async () => {
    const { stdout } = await kapsel('exec', name, 'cat', '/proc/net/tcp6', '/proc/net/udp');
    return (stdout.match(/:0050 /g) ?? []).length >= 2;
  });
}

const inside = (flags: string[], script: string): Promise<CommandResult> =>
  kapsel('run', '--rm', ...flags, image, 'bash', '-c', script);
const get = (url: string) => `curl -sS -m 5 ${url}`;
const remove = (...names: string[]) => kapsel('rm', '-f', ...names);

t.after.each(async () => {
  const { stdout } = await kapsel('ps', '-aq');
  if (stdout !== '') await remove(...stdout.trim().split('\n'));
});

t('one reaches other machines, with a name server of its own', async () => {
  // On the default network, which is that of root’s containers too.
  const { stdout, stderr } = await inside(
    [],
    `${get(`http://${there}/hostname`)}; cat /etc/resolv.conf; ip -br addr show eth0; ip link show eth0`,
  );
  assert.match(stdout, readFileSync('/etc/hostname', 'utf8'), stderr);
  assert.match(stdout, 'nameserver 127.0.0.11\n');
  // Short packets would make the way out thirty times slower.
  assert.match(stdout, / mtu 65520 /);
  assert.match(stdout, /eth0@\S+\s+UP\s+10\.\d+\.\d+\.\d+\/24/);
  await until('nothing is left', nothing);
});

t('a published port sees who asks, from another machine, from here, and from containers', async () => {
  await kapsel('network', 'create', '--ipv6', 'dual');
  await start('front', '--network', 'dual', '-p', '8080:80', '-p', '8080:80/udp');
  assert.is((await elsewhere(get(`http://${here}:8080/`))).stdout, `${there}\n`);
  assert.is((await elsewhere(get(`http://[${here6}]:8080/`))).stdout, `${there6}\n`);
  const asked = await elsewhere(`exec 3<> /dev/udp/${here}/8080; echo hi >&3; timeout 5 head -c ${there.length} <&3`);
  assert.is(asked.stdout, there, asked.stderr);
  assert.is((await run('curl', ['-sS', '-m', '5', `http://${here}:8080/`])).stdout, `${here}\n`);
  const networks = JSON.parse((await kapsel('network', 'inspect', 'dual')).stdout) as {
    IPAM: { Config: { Gateway: string }[] };
  }[];
  const gateways = networks[0]!.IPAM.Config.map(({ Gateway }) => Gateway);
  for (const [at, host] of ['127.0.0.1', '[::1]'].entries()) {
    assert.is((await run('curl', ['-sS', '-m', '5', `http://${host}:8080/`])).stdout, `${gateways[at]}\n`);
  }
  const from = await inside(
    ['--network', 'web'],
    `${get('http://host.docker.internal:8080/')}; ${get(`http://${gateways[0]}:8080/`)}`,
  );
  assert.match(from.stdout, new RegExp(`^${here}\n10\\.`), from.stderr);
  await remove('front');
  assert.is.not((await elsewhere(get(`http://${here}:8080/`))).exitCode, 0);
  await kapsel('network', 'rm', 'dual');
  await until('nothing is left', nothing);
});

t('its first packet of IPv6 gets out, the moment its networks are made', async () => {
  await kapsel('network', 'create', '--ipv6', '--ipv4=false', 'six');
  for (let life = 0; life < 3; life++) {
    const out = await inside(['--network', 'six'], get(`http://[${there6}]/hostname`));
    assert.is(out.stdout, readFileSync('/etc/hostname', 'utf8'), out.stderr);
    // The networks are made anew for the next one.
    await until('nothing is left', nothing);
  }
  await kapsel('network', 'rm', 'six');
});

t('on a network of IPv6 alone its port is reached by both, and it reaches other machines and this one', async () => {
  await kapsel('network', 'create', '--ipv6', '--ipv4=false', 'six');
  await start('front', '--network', 'six', '-p', '8087:80');
  assert.is((await elsewhere(get(`http://[${here6}]:8087/`))).stdout, `${there6}\n`);
  const old = await elsewhere(`${get(`http://${here}:8087/`)} > /dev/null && echo reached`);
  assert.is(old.stdout, 'reached\n', old.stderr);
  const out = await kapsel('exec', 'front', 'bash', '-c', get(`http://[${there6}]/hostname`));
  assert.is(out.stdout, readFileSync('/etc/hostname', 'utf8'), out.stderr);
  const from = await kapsel('exec', 'front', 'bash', '-c', get('http://host.docker.internal:8087/'));
  assert.is(from.stdout, `${here6}\n`, from.stderr);
  await remove('front');
  await kapsel('network', 'rm', 'six');
  await until('nothing is left', nothing);
});

t('two have port 80 each, find each other by name, and share one holder and one way out', async () => {
  await Promise.all([
    start('one', '--network', 'web', '-p', '8081:80'),
    start('two', '--network', 'web', '-p', '8082:80'),
  ]);
  assert.is(processes(holder).length, 1);
  assert.is(processes(uplink).length, 1);
  assert.is(
    (await elsewhere(`${get(`http://${here}:8081/`)}; ${get(`http://${here}:8082/`)}`)).stdout,
    `${there}\n${there}\n`,
  );
  const called = await inside(
    ['--network', 'web'],
    `set -- $(ip -4 -o addr show eth0); own=\${4%/*}; for n in one two; do [ "$(${get('http://$n/')})" = $own ] && echo $n; done; getent hosts three || echo none`,
  );
  assert.is(called.stdout, 'one\ntwo\nnone\n', called.stderr);
  const apart = await inside(['--network', 'bridge'], 'getent hosts one || echo apart');
  assert.is(apart.stdout, 'apart\n', apart.stderr);
  const joined = await inside(['--network', 'container:one'], get('http://127.0.0.1/'));
  assert.is(joined.stdout, '127.0.0.1\n', joined.stderr);
  const again = await kapsel('run', '--rm', '-p', '8081:80', image, 'true');
  assert.is(again.exitCode, 125);
  assert.match(again.stderr, 'port 0.0.0.0:8081/tcp is already published by container one');
  await remove('one', 'two');
  await until('nothing is left', nothing);
});

t('a running one comes to a network and leaves it, and its ports are opened and closed', async () => {
  await start('moves', '--network', 'web');
  const must = async (...args: string[]) => {
    const { exitCode, stderr } = await kapsel(...args);
    assert.is(exitCode, 0, `${args.join(' ')}: ${stderr}`);
  };
  await must('network', 'create', 'back');
  await must('network', 'connect', '--alias', 'visitor', 'back', 'moves');
  const called = await inside(['--network', 'back'], `${get('http://visitor/')} > /dev/null && echo found`);
  assert.is(called.stdout, 'found\n', called.stderr);
  await must('port', 'add', 'moves', '-p', '8085:80');
  assert.is((await elsewhere(get(`http://${here}:8085/`))).stdout, `${there}\n`);
  await must('port', 'rm', 'moves', '80');
  assert.is.not((await elsewhere(get(`http://${here}:8085/`))).exitCode, 0);
  await must('network', 'disconnect', 'back', 'moves');
  const gone = await inside(['--network', 'back'], 'getent hosts visitor moves || echo none');
  assert.is(gone.stdout, 'none\n', gone.stderr);
  const out = await kapsel('exec', 'moves', 'curl', '-sS', '-m', '5', `http://${there}/hostname`);
  assert.is(out.stdout, readFileSync('/etc/hostname', 'utf8'), out.stderr);
  await remove('moves');
  await must('network', 'rm', 'back');
  await until('nothing is left', nothing);
});

t('a command that is killed while it starts one leaves nothing', async () => {
  const flags = ['run', '-d', '--network', 'web', '-p', '8086:80', image, 'sleep', '600'];
  const empty = async () => {
    const { stdout } = await kapsel('ps', '-aq');
    if (stdout !== '') await remove(...stdout.trim().split('\n'));
    await until('nothing is left', nothing);
    assert.equal(readdirSync(`${directory}/home/run/containers`), []);
  };
  const begun = performance.now();
  assert.is((await kapsel(...flags)).exitCode, 0);
  const whole = performance.now() - begun;
  await empty();
  // All the way from the first instruction to the last.
  for (let part = 1; part <= 10; part++) {
    const env = { ...process.env, ...environment(process.env.PATH!) };
    const command = spawn(process.execPath, [cli, ...flags], { uid, gid: uid, cwd: '/', env, stdio: 'ignore' });
    const timer = setTimeout(() => command.kill('SIGKILL'), (whole * part) / 10);
    await once(command, 'exit');
    clearTimeout(timer);
    await empty();
  }
  assert.is((await kapsel(...flags)).exitCode, 0);
});

t('what one may reach is decided outside of it', async () => {
  const refused = await inside(['--egress', 'deny'], `${get(`http://${there}/hostname`)} || echo no`);
  assert.is(refused.stdout, 'no\n', refused.stderr);
  const allowed = await inside(['--egress', `allow=${there}`], get(`http://${there}/hostname`));
  assert.is(allowed.stdout, readFileSync('/etc/hostname', 'utf8'), allowed.stderr);
});

t('whoever of them is killed, what lives goes on and the next finds all in order', async () => {
  await start('stays', '--network', 'web', '-p', '8083:80');
  const reaches = async () =>
    (await kapsel('exec', 'stays', 'curl', '-sS', '-m', '5', `http://${there}/hostname`)).exitCode === 0;
  const works = async () => {
    assert.is((await elsewhere(get(`http://${here}:8083/`))).stdout, `${there}\n`);
    const { stdout, stderr } = await inside(['--network', 'web'], `${get('http://stays/')} > /dev/null && echo found`);
    assert.is(stdout, 'found\n', stderr);
    await until('it leads out again', reaches);
    assert.equal([processes(holder).length, processes(uplink).length], [1, 1]);
  };
  await works();
  for (const victim of [uplink, holder]) {
    const [pid] = processes(victim) as [number];
    process.kill(pid, 'SIGKILL');
    await until('it has ended', () => !processes(victim).includes(pid));
    await works();
  }
  const state = JSON.parse((await kapsel('inspect', 'stays')).stdout) as { State: { Pid: number } }[];
  const status = readFileSync(`/proc/${state[0]!.State.Pid}/status`, 'utf8');
  process.kill(Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]), 'SIGKILL');
  await until('nothing is left', nothing);
  assert.is((await kapsel('ps', '-q')).stdout, '');
  await start('next', '--network', 'web', '-p', '8083:80');
  assert.is((await elsewhere(get(`http://${here}:8083/`))).stdout, `${there}\n`);
  await remove('stays', 'next');
  await until('nothing is left', nothing);
});

t('a container that sees the holder may not look into it', async () => {
  await start('sees', '--network', 'web');
  const [pid] = processes(holder) as [number];
  const tried = await inside(
    ['--network', 'web', '--pid', 'host'],
    `busybox tr '\\0' ' ' < /proc/${pid}/environ && echo seen; busybox readlink /proc/${pid}/ns/net || echo hidden; (exec 3<> /proc/${pid}/mem) 2> /dev/null || echo closed`,
  );
  assert.is(tried.stdout, 'hidden\nclosed\n', tried.stderr);
});

t('many that begin and end at once have one holder, and leave nothing', async () => {
  const ends = await Promise.all(
    Array.from({ length: 6 }, () =>
      inside(['--network', 'web'], `${get(`http://${there}/hostname`)}; ip -br link | busybox grep -c eth0`),
    ),
  );
  for (const { stdout, stderr } of ends) assert.is(stdout, `${readFileSync('/etc/hostname', 'utf8')}1\n`, stderr);
  await until('nothing is left', nothing);
  assert.equal(readdirSync(`${directory}/home/run/containers`), []);
});

/** Arguments of a program that has the user's containers, and one monitor that waits. */
function program(code: string): string[] {
  const index = JSON.stringify(new URL('../../src/index.ts', import.meta.url).href);
  const beginning = `
    import { setTimeout } from 'node:timers/promises';
    import { Engine } from ${index};
    const { KAPSEL_ROOT: root, KAPSEL_RUN_ROOT: runRoot } = process.env;
    const { containers } = new Engine({ root, runRoot, spares: 1 });`;
  return ['--input-type=module-typescript', '-e', beginning + code];
}

t('monitors wait for containers in the hub, and go with whoever has them', async () => {
  const script = program(`
    import { readFileSync } from 'node:fs';
    const scripts = { web: ${JSON.stringify(get(`http://${there}/hostname`))}, none: 'echo /sys/class/net/*' };
    for (const network of ['web', 'web', 'none', 'none', 'web', 'web']) {
      const stays = await containers.start('${image}', { network, command: ['sleep', '600'] });
      const { State } = await stays.inspect();
      const monitor = readFileSync(\`/proc/\${State.Pid}/stat\`, 'utf8').split(' ')[3];
      const isSpare = readFileSync(\`/proc/\${monitor}/cmdline\`, 'utf8').includes('spare');
      await stays.remove({ force: true });
      await setTimeout(300);
      const { stdout, stderr } = await containers.run('${image}', { network, command: ['bash', '-c', scripts[network]] });
      console.log(network, isSpare, stdout + stderr);
      await setTimeout(300);
    }
    process.exit();`);
  const { stdout, stderr } = await run(process.execPath, script, {
    uid,
    cwd: '/',
    env: environment(process.env.PATH!),
  });
  const hostname = readFileSync('/etc/hostname', 'utf8');
  const both = (network: string, seen: string) => `${network} false ${seen}\n${network} true ${seen}\n`;
  assert.is(stdout, both('web', hostname) + both('none', '/sys/class/net/lo\n') + both('web', hostname), stderr);
  await until('nothing is left', nothing);
  assert.equal(readdirSync(`${directory}/home/run/containers`), []);
});

t('the hub goes on where its holder is killed and only monitors that wait have it still', async () => {
  const script = program(`
    await containers.run('${image}', { network: 'web', command: ['true'] });
    await setTimeout(300);
    console.log('ready');
    await setTimeout(100_000);`);
  const env = environment(process.env.PATH!);
  const owner = spawn(process.execPath, script, { uid, gid: uid, cwd: '/', env, stdio: ['ignore', 'pipe', 'inherit'] });
  await once(owner.stdout, 'data');
  const [pid] = processes(holder) as [number];
  process.kill(pid, 'SIGKILL');
  await until('another has taken its place', () => processes(holder).some((other) => other !== pid));
  await until('it leads out', async () => {
    const { stdout } = await inside(['--network', 'web'], get(`http://${there}/hostname`));
    return stdout === readFileSync('/etc/hostname', 'utf8');
  });
  owner.kill('SIGKILL');
  await until('nothing is left', nothing);
});

t('a low port names the setting that would allow it', async () => {
  must('sysctl', '-qw', 'net.ipv4.ip_unprivileged_port_start=1024');
  const { exitCode, stderr } = await kapsel('run', '--rm', '-p', '81:80', image, 'true');
  assert.is(exitCode, 125);
  assert.match(stderr, 'sysctl -w net.ipv4.ip_unprivileged_port_start=81');
  await until('nothing is left', nothing);
});

t(
  'slirp4netns stands in for pasta, with clients’ addresses too; without either it is said what to install',
  async () => {
    const path = `${directory}/path`;
    mkdirSync(path);
    const missing = await kapselWith(path, 'run', '--rm', '--network', 'web', image, 'true');
    assert.is(missing.exitCode, 125);
    assert.match(missing.stderr, /install the package passt/);
    // Who has not asked for a network goes without.
    const usual = await kapselWith(path, 'run', '--rm', image, 'ip', '-o', 'link');
    assert.is(usual.exitCode, 0, usual.stderr);
    assert.match(usual.stderr, /loopback alone; install the package passt/);
    assert.is(usual.stdout.trim().split('\n').length, 1, usual.stdout);
    symlinkSync(must('sh', '-c', 'command -v slirp4netns').trim(), `${path}/slirp4netns`);
    const given = ['run', '-d', '--name', 'slirp', '-v', `${library}:${library}:ro`, '-p', '8084:80', image];
    assert.is((await kapselWith(path, ...given, 'python3', '-c', tell)).exitCode, 0);
    assert.is(processes(/^slirp4netns$/).length, 1);
    await until('it listens', async () => (await elsewhere(get(`http://${here}:8084/`))).stdout === `${there}\n`);
    const out = await kapsel('exec', 'slirp', 'curl', '-sS', '-m', '5', `http://${there}/hostname`);
    assert.is(out.stdout, readFileSync('/etc/hostname', 'utf8'), out.stderr);
    await remove('slirp');
    await until('nothing is left', nothing);
  },
);

t.run();
