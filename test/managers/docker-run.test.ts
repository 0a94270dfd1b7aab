// Docker with kapsel-runtime as the daemon's default: `docker run` and what its flags do inside.
// deadline: 240

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { scratch } from '../harness/engine.ts';
import { Docker } from './dockerd.ts';
import { busyboxArchive } from './images.ts';

const t = suite('docker run');
let docker: Docker;

/** A test that leaves nothing behind. */
function clean(name: string, test: () => Promise<void>): void {
  t(name, () => docker.cleanly(test));
}

/** What a shell script prints in a container of its own. */
const inside = (script: string, ...flags: string[]) =>
  docker.output('run', '--rm', ...flags, 'box:1', 'sh', '-c', script);

t.before(async () => {
  docker = await Docker.make(['--default-runtime', 'kapsel']);
  await docker.output('load', '--input', await busyboxArchive());
  await docker.remember();
});

t.after(() => docker.close());

clean('the daemon runs everything with kapsel', async () => {
  assert.is(await docker.output('info', '--format', '{{.DefaultRuntime}}'), 'kapsel');
  const id = await docker.output('run', '--detach', 'box:1', 'sleep', '1000');
  assert.is(await docker.inspect(id, '.HostConfig.Runtime'), 'kapsel');
  // The other runtime runs beside it, under the same daemon.
  assert.is(await inside('echo beside', '--runtime', 'runc'), 'beside');
});

clean('output, errors and exit status', async () => {
  const { exitCode, stdout, stderr } = await docker.run(
    ['run', '--rm', '--interactive', 'box:1', 'sh', '-c', 'cat; echo err >&2; exit 42'],
    { input: 'in\n' },
  );
  assert.is(stdout, 'in\n');
  assert.is(stderr, 'err\n');
  assert.is(exitCode, 42);
});

clean('a program that is missing ends with 127, one that cannot be executed with 126', async () => {
  const missing = await docker.run(['run', '--rm', 'box:1', 'no-such-program']);
  assert.is(missing.exitCode, 127, missing.stderr);
  assert.match(missing.stderr, 'no-such-program');
  const directory = await docker.run(['run', '--rm', 'box:1', '/data/kept']);
  assert.is(directory.exitCode, 126, directory.stderr);
  assert.match(directory.stderr, /permission denied/i);
});

clean('a program ended by a signal ends with 128 and its number', async () => {
  const { exitCode } = await docker.run(['run', '--rm', '--init', 'box:1', 'sh', '-c', 'kill -TERM $$']);
  assert.is(exitCode, 143);
});

clean('a terminal', async () => {
  const pty = await docker.terminal('run', '--rm', '-it', 'box:1');
  await pty.shows(/\/data # /);
  pty.type('busybox tty; busybox stty size\r');
  await pty.shows(/\/dev\/pts\/0\s+24 80/);
  await pty.resize(101, 31);
  pty.type('while [ "$(busybox stty size)" != "31 101" ]; do sleep 0.1; done; echo re""sized\r');
  await pty.shows(/resized/);
  pty.type('exit 9\r');
  assert.is(await pty.exited, 9);
});

clean('--init: an init is process 1, and the program its child', async () => {
  assert.match(await inside('cat /proc/1/comm; echo $PPID', '--init'), /^(docker-init|tini)\n1$/);
});

clean('--cap-drop and --cap-add', async () => {
  const effective = 'busybox grep CapEff /proc/self/status';
  assert.match(await inside(effective), /\t00000000a80425fb$/);
  assert.match(await inside(effective, '--cap-drop', 'ALL'), /\t0000000000000000$/);
  assert.match(await inside(effective, '--cap-drop', 'ALL', '--cap-add', 'SYS_TIME'), /\t0000000002000000$/);
});

clean('--privileged has what the daemon has, of the capabilities that Docker knows, and its devices', async () => {
  const own = /^CapBnd:\s+(\S+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1];
  // CAP_AUDIT_READ, 37, is the last one in Docker 20.10.
  const expected = (BigInt(`0x${own}`) & 0x3f_ffff_ffffn).toString(16).padStart(16, '0');
  const script = 'busybox grep CapEff /proc/self/status; ls /dev/kmsg';
  assert.is(await inside(script, '--privileged'), `CapEff:\t${expected}\n/dev/kmsg`);
});

clean('--read-only, with a tmpfs to write to', async () => {
  const script =
    'echo x 2>&1 >/data/x; echo written >/scratch/x; cat /scratch/x; busybox df -m /scratch | busybox tail -1';
  const output = await inside(script, '--read-only', '--tmpfs', '/scratch:size=4m');
  assert.match(output, 'Read-only file system');
  assert.match(output, /^written$/m);
  assert.match(output, /^tmpfs\s+4 /m);
});

clean('--user and --group-add', async () => {
  assert.is(await inside('id -u; id -g; id -G', '--user', '1000:1000', '--group-add', '77'), '1000\n1000\n1000 77');
  assert.is(await inside('id -un', '--user', 'user'), 'user');
  assert.is(await inside('busybox grep -c "^CapEff:.0*$" /proc/self/status', '--user', '4000:4000'), '1');
});

clean('--pids-limit', async () => {
  const { exitCode, stderr } = await docker.run([
    'run',
    '--rm',
    '--pids-limit',
    '4',
    'box:1',
    'sh',
    '-c',
    'for i in 1 2 3 4 5 6; do sleep 1 & done; wait',
  ]);
  assert.is.not(exitCode, 0);
  assert.match(stderr, /can't fork|Resource temporarily unavailable/);
});

clean('--memory: what asks for more is killed', async () => {
  const flags = ['run', '--name', 'full', '--memory', '16m', '--memory-swap', '16m', 'box:1'];
  const { exitCode } = await docker.run([...flags, 'busybox', 'dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M']);
  assert.is(exitCode, 137);
  assert.is(await docker.inspect('full', '.State.OOMKilled'), 'true');
});

clean('--hostname, --env, --workdir, --sysctl, --ulimit, --shm-size, --domainname', async () => {
  const script =
    'hostname; echo $A; pwd; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ulimit -n; busybox df -m /dev/shm';
  const flags = ['--hostname', 'here', '--env', 'A=b', '--workdir', '/new/place', '--shm-size', '8m'];
  const limits = ['--sysctl', 'net.ipv4.ip_unprivileged_port_start=80', '--ulimit', 'nofile=100:200'];
  const output = await inside(script, ...flags, ...limits);
  assert.match(output, /^here\nb\n\/new\/place\n80\n100\n/);
  assert.match(output, /^shm\s+8 /m);
});

clean('volumes and bind mounts', async () => {
  const shared = join(scratch, 'shared');
  await mkdir(shared);
  await writeFile(join(shared, 'given'), 'given\n');
  await docker.output('volume', 'create', 'kept');
  assert.is(await inside('cat /mine/given; echo taken >/mine/taken', '--volume', `${shared}:/mine`), 'given');
  assert.is(await readFile(join(shared, 'taken'), 'utf8'), 'taken\n');
  assert.match(await inside('echo x 2>&1 >/mine/x', '--volume', `${shared}:/mine:ro`).catch(String), 'Read-only');
  await inside('echo once >/kept/file', '--volume', 'kept:/kept');
  assert.is(await inside('cat /kept/file', '--volume', 'kept:/kept'), 'once');
  await docker.output('volume', 'rm', 'kept');
});

clean('--device', async () => {
  const output = await inside(
    'echo x >/dev/mine && ls /dev/mine; echo x >/dev/full',
    '--device',
    '/dev/null:/dev/mine:w',
  ).catch(String);
  assert.match(output, /\/dev\/mine/);
  assert.match(output, /No space left/);
});

clean('namespaces of another container and of the machine', async () => {
  await docker.output('run', '--detach', '--name', 'first', '--ipc', 'shareable', 'box:1', 'sleep', '1000');
  const output = await inside('cat /proc/1/comm', '--pid', 'container:first');
  assert.is(output, 'sleep');
  const address = 'ip -4 addr show eth0';
  assert.is(
    await inside(address, '--network', 'container:first'),
    await docker.output('exec', 'first', 'sh', '-c', address),
  );
  const link = (name: string) => docker.output('exec', 'first', 'busybox', 'readlink', `/proc/self/ns/${name}`);
  assert.is(await inside('busybox readlink /proc/self/ns/ipc', '--ipc', 'container:first'), await link('ipc'));
  assert.match(await inside('ip link', '--network', 'host'), 'docker0');
  assert.is(
    await inside('busybox readlink /proc/self/ns/uts', '--uts', 'host'),
    await docker.machine.output('readlink', ['/proc/self/ns/uts']),
  );
});

clean('containers reach each other, and the machine a published port', async () => {
  const serve = 'echo answer >/data/index.html; exec busybox httpd -f -p 8080 -h /data';
  await docker.output('run', '--detach', '--name', 'web', '--publish', '8888:8080', 'box:1', 'sh', '-c', serve);
  const address = await docker.inspect('web', '.NetworkSettings.IPAddress');
  const get = (url: string) => `for i in 1 2 3 4 5 6 7 8 9; do busybox wget -qO- ${url} && break; sleep 0.2; done`;
  assert.is(await inside(get(`http://${address}:8080`)), 'answer');
  assert.is(await docker.machine.output('sh', ['-c', get('http://127.0.0.1:8888')]), 'answer');
});

clean('a network of its own, by name', async () => {
  await docker.output('network', 'create', 'mine');
  const serve = 'echo answer >/data/index.html; exec busybox httpd -f -p 80 -h /data';
  await docker.output('run', '--detach', '--name', 'web', '--network', 'mine', 'box:1', 'sh', '-c', serve);
  const get = 'for i in 1 2 3 4 5 6 7 8 9; do busybox wget -qO- http://web && break; sleep 0.2; done';
  assert.is(await inside(get, '--network', 'mine'), 'answer');
  await docker.output('rm', '--force', 'web');
  await docker.output('network', 'rm', 'mine');
});

clean('--security-opt: no new privileges, and no seccomp', async () => {
  const status = 'busybox grep -E "^(NoNewPrivs|Seccomp):" /proc/self/status';
  assert.is(await inside(status), 'NoNewPrivs:\t0\nSeccomp:\t2');
  const flags = ['--security-opt', 'no-new-privileges', '--security-opt', 'seccomp=unconfined'];
  assert.is(await inside(status, ...flags), 'NoNewPrivs:\t1\nSeccomp:\t0');
});

t.run();
