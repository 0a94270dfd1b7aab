// containerd with kapsel-runtime under its own shim, driven by `ctr`.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Pty } from '../cli/pty.ts';
import { scratch } from '../harness/engine.ts';
import { busybox, busyboxArchive } from './images.ts';
import { type Daemon, Machine, cgroups, removeParent, runtime, tag } from './machine.ts';

const t = suite('containerd');
let machine: Machine;
let containerd: Daemon;
let mounts: string[];

const words = (args: string[]) => ['--namespace', tag, ...args];
const ctr = (...args: string[]) => machine.run('ctr', words(args));
const must = (...args: string[]) => machine.output('ctr', words(args));
/** `ctr run` of the busybox image with the runtime under test. */
const start = (...args: string[]) => ['run', '--runc-binary', runtime, ...args];

/** The state of a task as `ctr tasks ls` shows it. */
async function status(id: string): Promise<string | undefined> {
  const line = (await must('tasks', 'ls')).split('\n').find((row) => row.startsWith(`${id} `));
  return line?.split(/\s+/)[2];
}

async function until(id: string, wanted: string): Promise<void> {
  for (let tries = 0; (await status(id)) !== wanted; tries += 1) {
    if (tries === 50) assert.is(await status(id), wanted);
    await setTimeout(100);
  }
}

t.before(async () => {
  machine = await Machine.make();
  const config = join(scratch, 'containerd.toml');
  await writeFile(config, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n');
  const own = ['--config', config, '--root', join(scratch, 'containerd')];
  containerd = await machine.daemon('containerd', own, ['ctr', 'version']);
  await must('image', 'import', await busyboxArchive());
  mounts = await machine.mounts();
});

t.after(async () => {
  await containerd.stop();
  await machine.close();
  await removeParent();
});

/** A test that leaves no mount, no cgroup and no process behind. */
function clean(name: string, test: () => Promise<void>): void {
  t(name, async () => {
    await test();
    assert.equal(await machine.mounts(), mounts);
    assert.equal(await cgroups(), []);
    assert.equal(await machine.containers(`/run/containerd/runc/${tag}`), []);
    const left = (await machine.processes()).filter((line) => !/^\d+ containerd /.test(line));
    assert.equal(left, []);
  });
}

t('run gives the output and the exit status', async () => {
  const { exitCode, stdout, stderr } = await ctr(
    ...start('--rm', busybox, 'once', 'sh', '-c', 'echo out; echo err >&2; exit 7'),
  );
  assert.is(stdout, 'out\n');
  assert.match(stderr, /^err$/m);
  assert.is(exitCode, 7);
});

clean("run with the image's own settings", async () => {
  const { stdout } = await ctr(
    ...start('--rm', busybox, 'settings', 'sh', '-c', 'pwd; echo $GREETING; hostname; id -u'),
  );
  assert.match(stdout, /^\/data\nhello\n/);
});

clean('a program that is not there is named', async () => {
  const { exitCode, stderr } = await ctr(...start('--rm', busybox, 'absent', 'no-such-program'));
  assert.is(exitCode, 1);
  assert.match(stderr, 'no-such-program');
});

clean('a terminal', async () => {
  const [command, args] = machine.inside('ctr', words(start('--rm', '--tty', busybox, 'terminal', 'sh')));
  const pty = await Pty.open([command, ...args].join(' '), machine.environment);
  await pty.shows(/\/data # /);
  pty.type('busybox tty; busybox stty size\r');
  await pty.shows(/\/dev\/pts\/0\s+24 80/);
  pty.type('exit 9\r');
  assert.is(await pty.exited, 9);
});

clean('a task through its whole life', async () => {
  await must(...start('--detach', '--memory-limit', '33554432', busybox, 'life', 'sleep', '1000'));
  assert.is(await status('life'), 'RUNNING');

  assert.is(await must('tasks', 'exec', '--exec-id', 'one', 'life', 'echo', 'hello'), 'hello');
  const failing = await ctr('tasks', 'exec', '--exec-id', 'two', 'life', 'sh', '-c', 'exit 3');
  assert.is(failing.exitCode, 3);
  const absent = await ctr('tasks', 'exec', '--exec-id', 'three', 'life', 'no-such-program');
  assert.is.not(absent.exitCode, 0);
  assert.match(absent.stderr, 'no-such-program');
  assert.is(await must('tasks', 'exec', '--exec-id', 'four', '--user', '1000', 'life', 'id', '-u'), '1000');

  const processes = (await must('tasks', 'ps', 'life')).split('\n');
  assert.is(processes.length, 2);
  const metrics = JSON.parse(await must('tasks', 'metrics', '--format', 'json', 'life'));
  assert.is(Number(metrics.memory.usage.limit), 33_554_432);
  assert.is(Number(metrics.pids.current), 1);

  await must('tasks', 'pause', 'life');
  assert.is(await status('life'), 'PAUSED');
  await must('tasks', 'resume', 'life');
  assert.is(await status('life'), 'RUNNING');

  // Process 1 of a namespace has no handler for SIGTERM, and so survives it.
  await must('tasks', 'kill', 'life');
  assert.is(await status('life'), 'RUNNING');
  await must('tasks', 'kill', '--signal', 'SIGKILL', 'life');
  await until('life', 'STOPPED');
  assert.match((await ctr('tasks', 'delete', 'life')).stderr, 'exit code 137');
  await must('containers', 'delete', 'life');
  assert.is(await status('life'), undefined);
});

clean('delete --force ends a task and every process in it', async () => {
  await must(...start('--detach', busybox, 'forced', 'sh', '-c', 'sleep 1000 & sleep 1000 & wait'));
  await must('tasks', 'exec', '--detach', '--exec-id', 'one', 'forced', 'sleep', '1000');
  await ctr('tasks', 'delete', '--force', 'forced');
  await must('containers', 'delete', 'forced');
});

clean('kill --all reaches every process', async () => {
  await must(...start('--detach', busybox, 'all', 'sh', '-c', 'trap "exit 5" USR1; sleep 1000 & wait; wait'));
  await must('tasks', 'kill', '--all', '--signal', 'SIGKILL', 'all');
  await until('all', 'STOPPED');
  await ctr('tasks', 'delete', 'all');
  await must('containers', 'delete', 'all');
});

clean('without capabilities, read-only, with a bind mount', async () => {
  const script =
    'busybox grep CapEff /proc/self/status; echo x 2>&1 >/no; cat /host/box.tar | busybox head -c0 && echo read';
  const bind = `type=bind,src=${scratch},dst=/host,options=rbind:ro`;
  const capability = ['--cap-drop', 'CAP_CHOWN', '--cap-drop', 'CAP_KILL'];
  const { stdout } = await ctr(
    ...start('--rm', '--read-only', '--mount', bind, ...capability, busybox, 'sealed', 'sh', '-c', script),
  );
  assert.match(stdout, /CapEff:\s+00000000a80425da/);
  assert.match(stdout, 'Read-only file system');
  assert.match(stdout, 'read');
});

clean("containerd's own seccomp profile", async () => {
  const script = 'busybox grep Seccomp: /proc/self/status; busybox unshare -n true 2>&1';
  const { stdout } = await ctr(...start('--rm', '--seccomp', busybox, 'filtered', 'sh', '-c', script));
  assert.match(stdout, /Seccomp:\s+2/);
  assert.match(stdout, 'Operation not permitted');
});

clean('events of a task, in their order', async () => {
  const events = await machine.daemon('ctr', words(['events']), ['true']);
  // The first event that is seen tells that the watch has begun.
  for (let tries = 0; (await events.log()) === '' && tries < 50; tries += 1) {
    await must('namespaces', 'label', tag, `tries=${tries}`);
    await setTimeout(20);
  }
  await must(...start('--detach', busybox, 'watched', 'sleep', '1000'));
  await must('tasks', 'pause', 'watched');
  await must('tasks', 'resume', 'watched');
  await must('tasks', 'kill', '--signal', 'SIGKILL', 'watched');
  await until('watched', 'STOPPED');
  await ctr('tasks', 'delete', 'watched');
  await must('containers', 'delete', 'watched');
  for (let tries = 0; !(await events.log()).includes('/containers/delete') && tries < 50; tries += 1)
    await setTimeout(100);
  await events.stop();
  const seen = [...(await events.log()).matchAll(/ \/tasks\/(\S+)/g)].map(([, name]) => name);
  assert.equal(seen, ['create', 'start', 'paused', 'resumed', 'exit', 'delete']);
});

clean('running out of memory ends it with SIGKILL', async () => {
  const script = 'busybox dd if=/dev/zero of=/dev/null bs=256M count=1';
  const { exitCode } = await ctr(...start('--rm', '--memory-limit', '16777216', busybox, 'full', 'sh', '-c', script));
  assert.is(exitCode, 137);
});

t.run();
