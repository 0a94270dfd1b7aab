// podman with kapsel-runtime under conmon: no daemon, so nothing but its store may be left between two commands.
// deadline: 240

import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Pty } from '../cli/pty.ts';
import { type CommandOptions, scratch } from '../harness/engine.ts';
import { busybox, busyboxArchive } from './images.ts';
import { Machine, cgroups, removeParent, runtime, tag } from './machine.ts';

const t = suite('podman');
let machine: Machine;
let mounts: string[];

const parent = ['--cgroup-parent', `/${tag}`];
// Podman asks for as many files and processes as root can have; without CAP_SYS_RESOURCE that is refused.
const limits = ['--ulimit', 'nofile=1024:4096', '--ulimit', 'nproc=1024:4096'];
const own = ['--root', join(scratch, 'podman'), '--runroot', '/run/podman-test', '--tmpdir', '/run/podman-test/tmp'];
const words = (args: string[]) =>
  [own, ['--cgroup-manager', 'cgroupfs', '--events-backend', 'file', '--runtime', runtime], args].flat();
const podman = (args: string[], options: CommandOptions = {}) => machine.run('podman', words(args), options);
const output = (...args: string[]) => machine.output('podman', words(args));
const run = (...args: string[]) => ['run', '--network', 'none', ...parent, ...limits, ...args];
/** Starts a container that stays. */
const start = (name: string, ...args: string[]) => output(...run('--detach', '--name', name, ...args));
const inside = (script: string, ...flags: string[]) => output(...run('--rm', ...flags, busybox, 'sh', '-c', script));
const inspect = (name: string, format: string) => output('inspect', '--format', `{{${format}}}`, name);

async function until(what: () => Promise<string>, wanted: string | RegExp): Promise<void> {
  let seen = await what();
  for (let tries = 0; tries < 50 && !(wanted instanceof RegExp ? wanted.test(seen) : seen === wanted); tries += 1) {
    await setTimeout(100);
    seen = await what();
  }
  assert.match(seen, wanted);
}

/** What a test has left mounted, but for podman's store, which is mounted on itself while it is in use and at times after. */
async function mounted(): Promise<string[]> {
  return (await machine.mounts()).filter((path) => !mounts.includes(path) && path !== join(scratch, 'podman/overlay'));
}

/** A test after which no container is left, and of those that were no process, mount or cgroup. */
function clean(name: string, test: () => Promise<void>): void {
  t(name, async () => {
    try {
      await test();
    } finally {
      await podman(['pod', 'rm', '--all', '--force', '--time', '0']);
      await podman(['rm', '--all', '--force', '--time', '0', '--volumes']);
    }
    // conmon cleans up after a container in a process of its own, which may be the last to end.
    await until(async () => (await machine.processes()).join('\n'), /^$/);
    await until(async () => (await mounted()).join('\n'), /^$/);
    // Podman forgets a pod's cgroup in the hierarchies that have no controller.
    const pods = (await cgroups()).filter((path) => /\/(systemd|unified)\/[^/]+\/[0-9a-f]{64}$/.test(path));
    for (const path of pods) await rmdir(path);
    assert.equal(
      (await cgroups()).filter((path) => !path.endsWith('/conmon')),
      [],
    );
    assert.equal(await machine.containers('/run/kapsel-runtime'), []);
  });
}

t.before(async () => {
  machine = await Machine.make();
  await mkdir(join(scratch, 'podman'));
  await output('load', '--input', await busyboxArchive());
  await inside('true');
  mounts = await machine.mounts();
});

t.after(async () => {
  await machine.close();
  await removeParent(tag, ['conmon']);
  await rm(join(scratch, 'podman'), { recursive: true, force: true });
});

clean('it runs containers with the runtime under test', async () => {
  assert.is(await output('info', '--format', '{{.Host.OCIRuntime.Path}}'), runtime);
  await start('one', busybox, 'sleep', '1000');
  assert.is(await inspect('one', '.OCIRuntime'), runtime);
});

clean('run: output, errors, input and exit status', async () => {
  const { exitCode, stdout, stderr } = await podman(
    run('--rm', '--interactive', busybox, 'sh', '-c', 'cat; echo err >&2; exit 42'),
    { input: 'in\n' },
  );
  assert.equal({ exitCode, stdout, stderr }, { exitCode: 42, stdout: 'in\n', stderr: 'err\n' });
});

clean('a program that is missing ends with 127, one that cannot be executed with 126', async () => {
  const missing = await podman(run('--rm', busybox, 'no-such-program'));
  assert.is(missing.exitCode, 127, missing.stderr);
  assert.match(missing.stderr, 'no-such-program');
  const file = await podman(run('--rm', busybox, '/data/kept'));
  assert.is(file.exitCode, 126, file.stderr);
});

clean('a terminal, and exec on one', async () => {
  const open = (...args: string[]) => {
    const [command, all] = machine.inside('podman', words(args));
    return Pty.open([command, ...all].join(' '), machine.environment);
  };
  const first = await open(...run('--name', 'one', '-it', busybox));
  await first.shows(/\/data # /);
  first.type('busybox tty; busybox stty size\r');
  await first.shows(/\/dev\/pts\/0\s+24 80/);
  const second = await open('exec', '-it', 'one', 'sh');
  await second.shows(/\/data # /);
  second.type('busybox tty; busybox stty size\r');
  await second.shows(/\/dev\/pts\/1\s+24 80/);
  second.type('exit 5\r');
  assert.is(await second.exited, 5);
  first.type('exit 9\r');
  assert.is(await first.exited, 9);
});

clean('flags that change what is inside', async () => {
  const effective = 'busybox grep CapEff /proc/self/status';
  assert.match(await inside(effective, '--cap-drop', 'all'), /\t0000000000000000$/);
  assert.match(await inside('echo x 2>&1 >/x || :', '--read-only'), 'Read-only');
  assert.is(await inside('id -u; id -g', '--user', '1000:1000'), '1000\n1000');
  assert.is(
    await inside('hostname; pwd; echo $A', '--hostname', 'here', '--workdir', '/tmp', '--env', 'A=b'),
    'here\n/tmp\nb',
  );
  assert.is(
    await inside('busybox grep NoNewPrivs /proc/self/status', '--security-opt', 'no-new-privileges'),
    'NoNewPrivs:\t1',
  );
  assert.is(
    await inside('cat /from/box.tar | busybox wc -c >/dev/null && echo read', '--volume', `${scratch}:/from:ro`),
    'read',
  );
  const forks = 'for i in 1 2 3 4 5 6; do sleep 1 & done; wait';
  const full = await podman(run('--rm', '--pids-limit', '4', busybox, 'sh', '-c', forks));
  assert.match(full.stderr, /can't fork/);
});

clean('logs, exec, top, pause, unpause, kill, wait', async () => {
  await start('one', busybox, 'sh', '-c', 'trap "echo caught" USR1; echo ready; while :; do sleep 0.1; done');
  await until(() => output('logs', 'one'), 'ready');
  const exec = await podman(['exec', '--interactive', '--user', '1000', 'one', 'sh', '-c', 'cat; id -u; exit 3'], {
    input: 'in\n',
  });
  assert.equal([exec.exitCode, exec.stdout], [3, 'in\n1000\n']);
  const missing = await podman(['exec', 'one', 'no-such-program']);
  assert.is(missing.exitCode, 127, missing.stderr);
  assert.match(await output('top', 'one', 'pid', 'comm'), /^1\s+sh$/m);
  await output('pause', 'one');
  assert.is(await inspect('one', '.State.Status'), 'paused');
  assert.is.not((await podman(['exec', 'one', 'true'])).exitCode, 0);
  await output('unpause', 'one');
  await output('kill', '--signal', 'USR1', 'one');
  await until(() => output('logs', 'one'), 'ready\ncaught');
  await output('kill', 'one');
  assert.is(await output('wait', 'one'), '137');
});

clean('stats, and memory that runs out', async () => {
  await start('one', '--memory', '64m', busybox, 'sleep', '1000');
  const stats = JSON.parse(await output('stats', '--no-stream', '--format', 'json', 'one'));
  assert.match(stats[0].mem_usage, /\/ 67\.11MB$/);
  assert.is(stats[0].pids, '1');
  const full = run('--name', 'full', '--memory', '16m', '--memory-swap', '16m', busybox);
  const { exitCode } = await podman([...full, 'busybox', 'dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M']);
  assert.is(exitCode, 137);
});

clean('stop, start and restart', async () => {
  await start('one', busybox, 'sh', '-c', 'trap "exit 11" TERM; echo ready; while :; do sleep 0.1; done');
  await until(() => output('logs', 'one'), 'ready');
  await output('stop', 'one');
  assert.is(await inspect('one', '.State.ExitCode'), '11');
  await output('start', 'one');
  await until(() => output('logs', 'one'), 'ready\nready');
  await output('restart', 'one');
  await until(() => output('logs', 'one'), 'ready\nready\nready');
});

clean('cp, and commit', async () => {
  await start('one', busybox, 'sleep', '1000');
  await output('cp', join(scratch, 'box.tar'), 'one:/data/box.tar');
  assert.match(await output('exec', 'one', 'ls', '/data'), 'box.tar');
  await output('commit', '--quiet', 'one', 'committed');
  assert.match(await output(...run('--rm', 'committed', 'ls', '/data')), 'box.tar');
});

clean('--init: an init is process 1', async () => {
  assert.is(
    await inside('echo $PPID; cat /proc/1/comm', '--init', '--init-path', '/usr/bin/docker-init'),
    '1\npodman-init',
  );
});

clean('a user namespace of its own', async () => {
  const map = 'busybox awk "{print \\$2, \\$3}" /proc/self/uid_map; id -u; cat /data/kept';
  assert.is(await inside(map, '--uidmap', '0:400000:65536', '--gidmap', '0:400000:65536'), '400000 65536\n0\nkept');
});

clean('a pod: its containers share the network, the host name and the message queues', async () => {
  const infra = ['--infra-image', busybox, '--infra-command', 'sleep 1000'];
  await output('pod', 'create', '--name', 'pod', '--hostname', 'together', '--network', 'none', ...parent, ...infra);
  const member = (name: string, ...program: string[]) =>
    output('run', '--detach', '--pod', 'pod', '--name', name, ...limits, busybox, ...program);
  await member('web', 'sh', '-c', 'echo answer >/data/index.html; exec busybox httpd -f -p 127.0.0.1:8080 -h /data');
  await member('other', 'sleep', '1000');
  const get = 'for i in 1 2 3 4 5 6 7 8 9; do busybox wget -qO- http://127.0.0.1:8080 && break; sleep 0.2; done';
  assert.is(await output('exec', 'other', 'sh', '-c', get), 'answer');
  assert.is(await output('exec', 'other', 'hostname'), 'together');
  for (const [kind, same] of [
    ['net', true],
    ['ipc', true],
    ['uts', true],
    ['pid', false],
    ['mnt', false],
  ] as const) {
    const link = (name: string) => output('exec', name, 'busybox', 'readlink', `/proc/self/ns/${kind}`);
    assert.is((await link('web')) === (await link('other')), same, kind);
  }
  await output('pod', 'pause', 'pod');
  assert.is(await inspect('web', '.State.Status'), 'paused');
  await output('pod', 'unpause', 'pod');
  await output('pod', 'stop', '--time', '0', 'pod');
  assert.is(await inspect('web', '.State.Status'), 'exited');
});

t('system reset leaves nothing', async () => {
  await start('one', busybox, 'sleep', '1000');
  await output('system', 'reset', '--force');
  await until(async () => (await machine.processes()).join('\n'), /^$/);
  assert.equal(await mounted(), []);
  assert.equal(await machine.containers('/run/kapsel-runtime'), []);
  assert.equal(await readdir(join(scratch, 'podman')).catch(() => []), []);
});

t.run();
