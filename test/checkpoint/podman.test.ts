// podman's own checkpoint and restore, through kapsel-runtime and CRIU: what it calls is what kapsel-runtime understands.

import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { scratch } from '../harness/engine.ts';
import { busybox, busyboxArchive } from '../managers/images.ts';
import { Machine, removeParent, runtime, tag } from '../managers/machine.ts';
import { criu } from './criu.ts';

const t = suite('podman checkpoints with kapsel-runtime');
let machine: Machine;

const words = (args: string[]) => [
  '--root',
  join(scratch, 'podman'),
  '--runroot',
  '/run/podman-test',
  '--tmpdir',
  '/run/podman-test/tmp',
  '--cgroup-manager',
  'cgroupfs',
  '--events-backend',
  'file',
  '--runtime',
  runtime,
  ...args,
];
const podman = (...args: string[]) => machine.output('podman', words(args));

t.before(async () => {
  const program = await criu('trixie');
  machine = await Machine.make({ PATH: `${dirname(program)}:/usr/sbin:/usr/bin:/sbin:/bin` });
  await mkdir(join(scratch, 'podman'));
  await podman('load', '--input', await busyboxArchive());
});

t.after(async () => {
  await machine.run('podman', words(['system', 'reset', '--force']));
  await machine.close();
  await removeParent(tag, ['conmon']);
});

/** The counter's answer to a word. */
async function ask(name: string, word: string): Promise<string> {
  await podman('exec', name, 'sh', '-c', `echo ${word} > /tmp/ask`);
  for (;;) {
    const line = (await podman('logs', name)).split('\n').find((one) => one.endsWith(` ${word}`));
    if (line !== undefined) return line;
    await setTimeout(20);
  }
}

t('exports, imports and goes on', async () => {
  const archive = join(scratch, 'podman.tar.gz');
  const counter = `busybox mkfifo /tmp/ask; exec 3<> /tmp/ask; n=0; while read word <&3; do n=$((n + 1)); echo "$n $word"; done`;
  const flags = ['--network', 'none', '--cgroup-parent', `/${tag}`];
  // Without CAP_SYS_RESOURCE podman cannot have the limits that it asks for.
  const limits = ['--ulimit', 'nofile=1024:4096', '--ulimit', 'nproc=1024:4096'];
  await podman('run', '--detach', '--name', 'wanderer', ...flags, ...limits, busybox, 'sh', '-c', counter);
  while (!(await podman('exec', 'wanderer', 'ls', '/tmp')).includes('ask')) await setTimeout(20);
  assert.is(await ask('wanderer', 'one'), '1 one');
  await podman('container', 'checkpoint', '--compress', 'gzip', '--export', archive, 'wanderer');
  await podman('rm', 'wanderer');
  await podman('container', 'restore', '--import', archive);
  assert.is(await ask('wanderer', 'two'), '2 two');
  await podman('container', 'checkpoint', 'wanderer');
  assert.is(await podman('inspect', '--format', '{{.State.Status}}', 'wanderer'), 'exited');
  await podman('container', 'restore', 'wanderer');
  assert.is(await ask('wanderer', 'three'), '3 three');
  await podman('rm', '--force', '--time', '0', 'wanderer');
  assert.is(await machine.output('sh', ['-c', 'ls -A /run/kapsel-runtime | grep -v ^@ ; :']), '');
});

t.run();
