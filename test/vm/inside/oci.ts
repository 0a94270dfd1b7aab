// `kapsel-runtime` on cgroup v2, with AppArmor: what its verbs write and what the kernel then does.

import { execFileSync, spawnSync, type SpawnSyncOptions } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const runtime = process.env.KAPSEL_RUNTIME as string;
const directory = mkdtempSync(join(tmpdir(), 'kapsel-test-oci-'));
const mount = '/sys/fs/cgroup';

/** A profile under which nothing may be written below /forbidden. */
const profile = `
profile kapsel-test flags=(attach_disconnected,mediate_deleted) {
  file, capability, signal, umount, mount,
  deny /forbidden/** w,
}
`;

/** Output goes to files: a container that runs on would hold a pipe open. */
function kapsel(args: string[], input = '') {
  const paths = ['out', 'err'].map((name) => join(directory, name));
  const files = paths.map((path) => openSync(path, 'w'));
  const options: SpawnSyncOptions = { input, stdio: ['pipe', ...files], timeout: 60_000 };
  const { status } = spawnSync(runtime, ['--root', join(directory, 'state'), ...args], options);
  for (const file of files) closeSync(file);
  const [stdout, stderr] = paths.map((path) => readFileSync(path, 'utf8')) as [string, string];
  return { status, stdout, stderr };
}

/** A verb that must succeed; what it prints. */
function verb(...args: string[]): string {
  const { status, stdout, stderr } = kapsel(args);
  assert.is(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

interface Wish {
  script: string;
  resources?: object;
  apparmor?: string;
}

/** A bundle of busybox. */
function bundle(name: string, { script, resources, apparmor }: Wish): string {
  const path = join(directory, name);
  const root = join(path, 'rootfs');
  for (const made of ['bin', 'proc', 'sys', 'dev', 'forbidden']) mkdirSync(join(root, made), { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of ['sh', 'cat', 'sleep', 'mknod', 'dd', 'touch', 'echo', 'true'])
    symlinkSync('busybox', join(root, 'bin', applet));
  const capabilities = ['CAP_MKNOD', 'CAP_KILL', 'CAP_DAC_OVERRIDE'];
  const config = {
    ociVersion: '1.0.2',
    root: { path: 'rootfs' },
    process: {
      args: ['/bin/sh', '-c', script],
      env: ['PATH=/bin'],
      cwd: '/',
      user: { uid: 0, gid: 0 },
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      ...(apparmor !== undefined && { apparmorProfile: apparmor }),
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    ],
    linux: {
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
      cgroupsPath: `/kapsel-vm/${name}`,
      ...(resources !== undefined && { resources }),
    },
  };
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  return path;
}

/** What a container's script printed, run in the foreground. */
function run(name: string, wish: Wish) {
  return kapsel(['run', '--bundle', bundle(name, wish), name]);
}

/** Starts one that sleeps, does something with it, deletes it. */
function living(name: string, resources: object, use: () => void): void {
  verb('run', '--detach', '--bundle', bundle(name, { script: 'exec sleep 1000', resources }), name);
  try {
    use();
  } finally {
    kapsel(['delete', '--force', name]);
  }
}

const read = (name: string, file: string) => readFileSync(join(mount, 'kapsel-vm', name, file), 'utf8').trim();
const status = (name: string) => (JSON.parse(verb('state', name)) as { status: string }).status;

/** What a container leaves where it is not cleaned up. */
function remains() {
  const parent = join(mount, 'kapsel-vm');
  const entries = existsSync(parent) ? readdirSync(parent, { withFileTypes: true }) : [];
  const cgroups = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const state = existsSync(join(directory, 'state')) ? readdirSync(join(directory, 'state')) : [];
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(directory));
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes('kapsel-vm');
    } catch {
      return false;
    }
  });
  return { cgroups, state, mounts, processes };
}

const t = suite('oci');

t.after(() => rmSync(directory, { recursive: true, force: true }));

/** A test after which nothing of its containers is there. */
function leavesNothing(name: string, test: () => void): void {
  t(name, () => {
    test();
    assert.equal(remains(), { cgroups: [], state: [], mounts: [], processes: [] });
  });
}

leavesNothing('every limit is in the file that the kernel has for it', () => {
  const limits = {
    cpu: { shares: 1024, quota: 50_000, period: 100_000, cpus: '0', mems: '0' },
    memory: { limit: 64 << 20, reservation: 32 << 20, swap: 96 << 20 },
    pids: { limit: 20 },
    blockIO: { weight: 500 },
    hugepageLimits: [{ pageSize: '2MB', limit: 4 << 20 }],
    unified: { 'memory.high': '60000000' },
  };
  living('limits', limits, () => {
    const files: Record<string, string> = {
      'cpu.weight': '100',
      'cpu.max': '50000 100000',
      'cpuset.cpus': '0',
      'cpuset.mems': '0',
      'memory.max': String(64 << 20),
      'memory.low': String(32 << 20),
      'memory.swap.max': String(32 << 20),
      'memory.high': String(Math.floor(60_000_000 / 4096) * 4096),
      'pids.max': '20',
      'io.weight': 'default 4950',
      'hugetlb.2MB.max': String(4 << 20),
    };
    for (const [file, value] of Object.entries(files)) assert.is(read('limits', file), value, file);
  });
});

leavesNothing('a container sees its own cgroup as the root, read-only', () => {
  const script = 'cat /proc/self/cgroup; echo 1 > /sys/fs/cgroup/cgroup.freeze; cat /sys/fs/cgroup/pids.max';
  const { stdout, stderr } = run('view', { script, resources: { pids: { limit: 33 } } });
  assert.is(stdout, '0::/\n33\n');
  assert.match(stderr, 'Read-only file system');
});

leavesNothing('more processes than the limit are refused', () => {
  const script = 'sleep 100 & sleep 100 & sleep 100 & sleep 100 & echo all';
  const { status, stdout, stderr } = run('tasks', { script, resources: { pids: { limit: 3 } } });
  assert.is.not(status, 0);
  assert.is(stdout, '');
  assert.match(stderr, "can't fork");
});

leavesNothing('more memory than the limit ends the process', () => {
  const script = 'dd if=/dev/zero of=/dev/fill bs=1M count=64; echo $?';
  const limits = { memory: { limit: 16 << 20, swap: 16 << 20 } };
  const { stdout } = run('memory', { script, resources: limits });
  assert.is(stdout, '137\n');
});

leavesNothing('pause freezes and resume thaws', () => {
  living('paused', {}, () => {
    verb('pause', 'paused');
    assert.is(status('paused'), 'paused');
    assert.match(read('paused', 'cgroup.events'), 'frozen 1');
    verb('resume', 'paused');
    assert.is(status('paused'), 'running');
    assert.match(read('paused', 'cgroup.events'), 'frozen 0');
  });
});

leavesNothing('a paused container is deleted by force', () => {
  living('frozen', {}, () => {
    verb('pause', 'frozen');
    verb('delete', '--force', 'frozen');
    assert.equal(remains().cgroups, []);
  });
});

leavesNothing('update changes what it names and nothing else', () => {
  living('updated', { memory: { limit: 64 << 20 }, pids: { limit: 20 } }, () => {
    verb('update', '--memory', String(128 << 20), '--cpu-quota', '20000', 'updated');
    assert.is(read('updated', 'memory.max'), String(128 << 20));
    assert.is(read('updated', 'cpu.max'), '20000 100000');
    assert.is(read('updated', 'pids.max'), '20');
    const document = JSON.stringify({ pids: { limit: 30 }, unified: { 'memory.high': '40960000' } });
    const { status, stderr } = kapsel(['update', '--resources', '-', 'updated'], document);
    assert.is(status, 0, stderr);
    assert.is(read('updated', 'pids.max'), '30');
    assert.is(read('updated', 'memory.high'), '40960000');
    assert.is(read('updated', 'memory.max'), String(128 << 20));
  });
});

leavesNothing('events are what the kernel counts', () => {
  living('counted', { memory: { limit: 64 << 20 }, pids: { limit: 20 } }, () => {
    const event = JSON.parse(verb('events', '--stats', 'counted'));
    assert.is(event.type, 'stats');
    assert.is(event.id, 'counted');
    assert.is(event.data.memory.usage.limit, 64 << 20);
    assert.is(event.data.pids.limit, 20);
    assert.is(event.data.pids.current, 1);
    assert.ok(event.data.memory.usage.usage > 0);
    assert.ok(event.data.cpu.usage.total > 0);
  });
});

leavesNothing('exec is in the same cgroup, and ps lists both', () => {
  living('joined', {}, () => {
    assert.is(verb('exec', 'joined', '/bin/cat', '/proc/self/cgroup'), '0::/\n');
    verb('exec', '--detach', 'joined', '/bin/sleep', '1000');
    const listed = JSON.parse(verb('ps', '--format', 'json', 'joined')) as number[];
    const processes = read('joined', 'cgroup.procs').split('\n').map(Number);
    assert.is(listed.length, 2);
    assert.equal(listed.sort(), processes.sort());
  });
});

/** Of the loop devices, which are not among those that every container has, one may be read. */
const devices = [
  { allow: false, access: 'rwm' },
  { allow: true, type: 'b', major: 7, minor: 0, access: 'r' },
];

leavesNothing('a device is used only as its rule says', () => {
  const script = `
    mknod /dev/a b 7 0; mknod /dev/b b 7 1; mknod /dev/null c 1 3
    echo > /dev/null && echo null
    cat /dev/a && echo reading
    echo > /dev/a || echo no writing
    cat /dev/b || echo nothing`;
  const { stdout, stderr } = run('devices', { script, resources: { devices } });
  assert.is(stdout, 'null\nreading\nno writing\nnothing\n', stderr);
  assert.match(stderr, "can't create /dev/a: Operation not permitted");
  assert.match(stderr, "can't open '/dev/b': Operation not permitted");
});

leavesNothing('update replaces the rules of devices', () => {
  living('replaced', { devices }, () => {
    verb('exec', 'replaced', '/bin/mknod', '/dev/a', 'c', '1', '3');
    const none = JSON.stringify({ devices: [{ allow: false, access: 'rwm' }] });
    assert.is(kapsel(['update', '--resources', '-', 'replaced'], none).status, 0);
    assert.is.not(kapsel(['exec', 'replaced', '/bin/mknod', '/dev/z', 'c', '1', '3']).status, 0);
  });
});

leavesNothing('what v2 cannot do is refused, and nothing is left', () => {
  const { status, stderr } = run('refused', { script: 'true', resources: { memory: { swappiness: 10 } } });
  assert.is.not(status, 0);
  assert.match(stderr, 'swappiness');
});

leavesNothing('a process is confined by its AppArmor profile, one of exec too', () => {
  writeFileSync(join(directory, 'profile'), profile);
  execFileSync('apparmor_parser', ['--replace', '--skip-cache', join(directory, 'profile')]);
  const script = 'cat /proc/self/attr/current; touch /allowed && echo allowed; touch /forbidden/x || echo forbidden';
  const confined = run('confined', { script, apparmor: 'kapsel-test' });
  assert.is(confined.stdout, 'kapsel-test (enforce)\nallowed\nforbidden\n', confined.stderr);
  living('unconfined', {}, () => {
    assert.is(verb('exec', 'unconfined', '/bin/cat', '/proc/self/attr/current'), 'unconfined\n');
    const current = verb('exec', '--apparmor', 'kapsel-test', 'unconfined', '/bin/cat', '/proc/self/attr/current');
    assert.is(current, 'kapsel-test (enforce)\n');
  });
});

leavesNothing('a profile that is not loaded is an error, not a container without one', () => {
  const { status, stderr } = run('profileless', { script: 'true', apparmor: 'kapsel-absent' });
  assert.is.not(status, 0);
  assert.match(stderr, 'kapsel-absent');
});

t.run();
