// Every flag of `run` and `create`, as the program in the container sees it.

import { hostname } from 'node:os';
import { readlinkSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { testEngine, type Census, type TestEngine } from '../harness/engine.ts';
import { image, inside, shell } from './inside.ts';
import { rejects } from './rejects.ts';

const t = suite('what each flag does, seen from inside');
let test: TestEngine;
let before: Census;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  before = await test.census();
});

t.after(async () => {
  assert.equal(await test.census(), before, 'nothing is left');
  await test.close();
});

/** A line of /proc/self/status. */
const status = (field: string) => `grep -E '^${field}:' /proc/self/status | { read -r _ value; echo "$value"; }`;
/** A file of the container's own cgroup, on cgroup v1 or v2. */
const limit = (v1: string, v2: string) => `cat /sys/fs/cgroup/${v1} 2>/dev/null || cat /sys/fs/cgroup/${v2}`;

t('-e, -w, -h and --entrypoint', async () => {
  const env = await inside(test, 'echo "$A $HOSTNAME $PWD"; cat /etc/hostname', {
    env: ['A=1 2'],
    workdir: '/new/dir',
    hostname: 'web.example',
  });
  assert.is(env, '1 2 web.example /new/dir\nweb.example');
  const { stdout } = await test.engine.containers.run(image, {
    entrypoint: ['bash', '-c'],
    command: ['echo $0', 'word'],
  });
  assert.is(stdout, 'word\n');
});

t('the environment has PATH, HOSTNAME and HOME, and nothing of the engine’s', async () => {
  process.env['KAPSEL_SECRET'] = 'leak';
  const lines = (
    await inside(test, 'cat /proc/1/environ | { while read -r -d "" line; do echo "$line"; done; }')
  ).split('\n');
  delete process.env['KAPSEL_SECRET'];
  assert.equal(lines.map((line) => line.replace(/=.*/, '')).sort(), ['HOME', 'HOSTNAME', 'PATH']);
  assert.ok(lines.includes('HOME=/root'));
});

t('-u and --group-add', async () => {
  assert.is(await inside(test, 'id -u; id -g; id -G'), '0\n0\n0');
  assert.is(
    await inside(test, 'id -u; id -g; id -G', { user: '1000:1001', groupAdd: ['44', 45] }),
    '1000\n1001\n1001 44 45',
  );
  assert.is(await inside(test, status('CapEff'), { user: '1000' }), '0000000000000000');
  await rejects(shell(test, 'true', { user: 'nobody-here' }), { exitCode: 125 });
});

t('the host name is the id’s beginning and resolves', async () => {
  const result = await shell(test, 'cat /proc/sys/kernel/hostname; grep -w "$HOSTNAME" /etc/hosts');
  assert.match(result.stdout, new RegExp(`^${result.id.slice(0, 12)}\n127.0.0.1\t${result.id.slice(0, 12)}`));
});

t('namespaces are new, but those of the flags', async () => {
  const kinds = ['mnt', 'pid', 'uts', 'ipc', 'net', 'cgroup', 'user'];
  const own = kinds.map((kind) => readlinkSync(`/proc/self/ns/${kind}`));
  const seen = async (options: object) =>
    (await inside(test, `for k in ${kinds.join(' ')}; do readlink /proc/self/ns/$k; done`, options)).split('\n');
  const shared = (theirs: string[]) => kinds.filter((_, index) => theirs[index] === own[index]).join(' ');
  assert.is(shared(await seen({})), 'user');
  assert.is(shared(await seen({ pid: 'host' })), 'pid user');
  assert.is(shared(await seen({ ipc: 'host' })), 'ipc user');
  assert.is(shared(await seen({ network: 'host' })), 'net user');
  assert.is(shared(await seen({ uts: 'host' })), 'uts user');
  assert.is(shared(await seen({ cgroupns: 'host' })), 'cgroup user');
  assert.is(await inside(test, 'cat /proc/sys/kernel/hostname', { uts: 'host' }), hostname());
});

t('--network none has a loopback that is up, and no other', async () => {
  assert.is(await inside(test, 'ls /sys/class/net; cat /sys/class/net/lo/flags'), 'lo\n0x9');
});

t('--pid: the program is 1, unless the machine’s are shared', async () => {
  assert.is(await inside(test, 'echo $$'), '1');
  assert.is.not(await inside(test, 'echo $$', { pid: 'host' }), '1');
});

t('--init makes the program a child of PID 1', async () => {
  const [pid, words] = (await inside(test, 'echo $PPID; cat /proc/1/comm', { init: true })).split('\n');
  assert.is(pid, '1');
  assert.is.not(words, 'bash');
});

t('-m, --memory-swap, --cpus, --cpu-shares, --cpuset-cpus, --pids-limit', async () => {
  const memory = limit('memory/memory.limit_in_bytes', 'memory.max');
  assert.is(await inside(test, memory, { memory: '64m' }), String(64 * 2 ** 20));
  const swap =
    'cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes';
  assert.is(await inside(test, swap, { memory: '64m', memorySwap: '64m' }), String(64 * 2 ** 20));
  const quota =
    'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us /sys/fs/cgroup/cpu/cpu.shares';
  assert.is(await inside(test, quota, { cpus: '0.5', cpuShares: 512 }), '50000\n100000\n512');
  assert.is(await inside(test, 'cat /sys/fs/cgroup/cpuset/cpuset.cpus', { cpusetCpus: '0' }), '0');
  assert.is(
    await inside(test, 'grep Cpus_allowed_list /proc/self/status', { cpusetCpus: '0' }),
    'Cpus_allowed_list:\t0',
  );
  assert.is(await inside(test, limit('pids/pids.max', 'pids.max'), { pidsLimit: 7 }), '7');
  const forks = await shell(test, 'for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait', { pidsLimit: 5 });
  assert.match(forks.stderr, /Resource temporarily unavailable/);
});

t('a program that takes more memory than it may is killed, and the result says so', async () => {
  const hungry = await shell(test, 'x=x; while :; do x=$x$x; done', { memory: '16m', memorySwap: '16m' });
  assert.is(hungry.exitCode, 137);
  assert.is(hungry.oomKilled, true);
  assert.is(hungry.signal, 'SIGKILL');
});

t('--cap-add, --cap-drop and --privileged', async () => {
  const effective = (options: object) => inside(test, status('CapEff'), options).then((hex) => BigInt(`0x${hex}`));
  assert.is(await effective({}), 0xa80425fbn, 'Docker’s fourteen');
  assert.is(await effective({ capDrop: ['ALL'] }), 0n);
  assert.is(await effective({ capDrop: ['ALL'], capAdd: ['NET_ADMIN', 'cap_chown'] }), (1n << 12n) | 1n);
  assert.is(await effective({ capDrop: ['CHOWN'] }), 0xa80425fan);
  assert.ok((await effective({ privileged: true })) & (1n << 21n), 'CAP_SYS_ADMIN');
  assert.is(await inside(test, status('CapInh'), { privileged: true }), '0000000000000000');
});

t('--security-opt', async () => {
  assert.is(await inside(test, `${status('Seccomp')}; ${status('NoNewPrivs')}`), '2\n0');
  const loosened = { securityOpt: { seccomp: 'unconfined' as const, noNewPrivileges: true } };
  assert.is(await inside(test, `${status('Seccomp')}; ${status('NoNewPrivs')}`, loosened), '0\n1');
  const profile = {
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['sethostname', 'unlink', 'unlinkat', 'mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
  };
  const { exitCode } = await shell(test, 'touch /a && echo x > /b', { securityOpt: { seccomp: profile } });
  assert.is(exitCode, 0);
  assert.is(await inside(test, status('Seccomp'), { privileged: true }), '0');
});

t('--device and the devices there always are', async () => {
  const names = 'console fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero'.split(' ');
  const listed = (await inside(test, 'ls /dev')).split('\n').filter((name) => name !== 'console' && name !== 'core');
  assert.equal(
    listed,
    names.filter((name) => name !== 'console'),
  );
  assert.is(await inside(test, 'stat -c "%t:%T %a" /dev/kmsg2', { devices: ['/dev/full:/dev/kmsg2:r'] }), '1:7 666');
  assert.is(
    await inside(test, 'head -c 4 /dev/zero | stat -c %F - | cat; echo x > /dev/null; : < /dev/urandom', {}),
    'fifo',
  );
});

t('--ulimit', async () => {
  assert.is(
    await inside(test, 'ulimit -Sn; ulimit -Hn; ulimit -c', { ulimits: ['nofile=100:200', 'core=0'] }),
    '100\n200\n0',
  );
});

t('--sysctl, and low ports are anybody’s', async () => {
  const read =
    'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start';
  assert.is(
    await inside(test, read, { sysctls: { 'net.ipv4.ip_forward': '1', 'kernel.msgmax': '4096' } }),
    '1\n4096\n0',
  );
});

t('--read-only, and what stays writable', async () => {
  const { stdout, exitCode } = await shell(
    test,
    'touch /x; touch /etc/y; touch /dev/shm/z && echo shm; touch /t/a && echo t',
    {
      readOnly: true,
      tmpfs: ['/t'],
    },
  );
  assert.is(exitCode, 0);
  assert.is(stdout, 'shm\nt\n');
});

t('--tmpfs and --shm-size', async () => {
  const where = (path: string) => `grep ' ${path} ' /proc/self/mountinfo`;
  const tmpfs = await inside(test, `${where('/t')}; stat -c %a /t`, { tmpfs: ['/t:size=1m,mode=700'] });
  assert.match(tmpfs, /rw,nosuid,nodev,noexec.* tmpfs .*size=1024k.*\n700$/);
  assert.match(await inside(test, where('/dev/shm')), /size=65536k/);
  assert.match(await inside(test, where('/dev/shm'), { shmSize: '2m' }), /size=2048k/);
});

t('what Docker hides is hidden, and /sys and /proc/sys cannot be written', async () => {
  const { stdout } = await shell(
    test,
    '[ -s /proc/kcore ] || echo kcore; ls /sys/firmware | { read -r _ || echo firmware; }; (echo 1 > /proc/sys/kernel/panic) 2>/dev/null || echo sys; (echo x > /proc/sysrq-trigger) 2>/dev/null || echo sysrq; touch /sys/x 2>/dev/null || echo sysfs',
  );
  assert.is(stdout, 'kcore\nfirmware\nsys\nsysrq\nsysfs\n');
});

t('no descriptor of the engine’s or the monitor’s is inherited', async () => {
  assert.is(await inside(test, 'ls /proc/self/fd'), '0\n1\n2\n3', '3 is the listing’s own');
});

t('--userns maps root to somebody else', async () => {
  const map = await inside(test, 'cat /proc/self/uid_map; id -u; touch /made; stat -c %u /made /bin', {
    userns: '200000:65536',
  });
  assert.match(map, /^ *0 +200000 +65536\n0\n0\n/);
});

t('--label, --stop-signal and --stop-timeout are kept', async () => {
  const container = await test.engine.containers.create(image, {
    command: ['bash'],
    labels: { a: '1' },
    stopSignal: 'USR1',
    stopTimeout: 3,
  });
  const { Config } = await container.inspect();
  assert.equal([Config.Labels, Config.StopSignal, Config.StopTimeout], [{ a: '1' }, 'SIGUSR1', 3]);
  await container.remove();
});

t('--pull and --platform', async () => {
  await rejects(test.engine.containers.run('nowhere.invalid/x', { pull: 'never' }), { code: 'IMAGE_NOT_FOUND' });
  await rejects(test.engine.containers.run(image, { command: ['true'], pull: 'never', platform: 'linux/s390x' }), {});
});

t('a program that is not there, or cannot be run, has Docker’s exit codes', async () => {
  await rejects(test.engine.containers.run(image, { command: ['nothere'] }), {
    exitCode: 127,
    code: 'PROGRAM_NOT_FOUND',
  });
  await rejects(test.engine.containers.run(image, { command: ['/etc'] }), {
    exitCode: 126,
    code: 'PROGRAM_NOT_EXECUTABLE',
  });
  await rejects(test.engine.containers.run(image, { command: ['/etc/passwd'] }), { exitCode: 126 });
});

t.run();
