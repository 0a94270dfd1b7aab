// containerd's own checkpoint and restore, through its shim, kapsel-runtime and CRIU.

import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { scratch } from '../harness/engine.ts';
import { busybox, busyboxArchive } from '../managers/images.ts';
import { type Daemon, Machine, removeParent, runtime, tag } from '../managers/machine.ts';
import { criu } from './criu.ts';

const t = suite('containerd checkpoints with kapsel-runtime');
let machine: Machine;
let containerd: Daemon;

const ctr = (...args: string[]) => machine.output('ctr', ['--namespace', tag, ...args]);

t.before(async () => {
  const program = await criu('trixie');
  machine = await Machine.make({ PATH: `${dirname(program)}:/usr/sbin:/usr/bin:/sbin:/bin` });
  const config = join(scratch, 'containerd.toml');
  await writeFile(config, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n');
  const own = ['--config', config, '--root', join(scratch, 'containerd')];
  containerd = await machine.daemon('containerd', own, ['ctr', 'version']);
  await ctr('image', 'import', await busyboxArchive());
});

t.after(async () => {
  await containerd.stop();
  await machine.close();
  await removeParent();
});

let execs = 0;
/** Adds to the counter and tells what it is. */
async function count(id: string): Promise<string> {
  const script = 'echo one > /tmp/ask; cat /tmp/answer';
  return ctr('tasks', 'exec', '--exec-id', `e${++execs}`, id, 'sh', '-c', script);
}

t('checkpoints, restores and goes on', async () => {
  const counter = `cd /tmp; busybox mkfifo ask answer; exec 3<> ask; n=0
    while read word <&3; do n=$((n + 1)); echo "$n" > answer; done`;
  const run = ['run', '--detach', '--runc-binary', runtime, '--cgroup', `/${tag}/one`];
  await ctr(...run, busybox, 'one', 'sh', '-c', counter);
  while (!(await ctr('tasks', 'exec', '--exec-id', `e${++execs}`, 'one', 'ls', '/tmp')).includes('answer')) {
    await setTimeout(20);
  }
  assert.equal([await count('one'), await count('one')], ['1', '2']);
  await ctr('containers', 'checkpoint', '--task', '--rw', '--image', 'one', 'checkpoint:1');
  assert.is(await count('one'), '3', 'it was left running');
  await ctr('tasks', 'kill', '--signal', 'SIGKILL', 'one');
  while (/ RUNNING/.test(await ctr('tasks', 'ls'))) await setTimeout(20);
  await ctr('tasks', 'rm', 'one');
  await ctr('containers', 'rm', 'one');
  await ctr('containers', 'restore', '--live', '--rw', 'one', 'checkpoint:1');
  assert.is(await count('one'), '3', 'as it was at the checkpoint');
  await ctr('tasks', 'rm', '--force', 'one');
  await ctr('containers', 'rm', 'one');
});

t.run();
