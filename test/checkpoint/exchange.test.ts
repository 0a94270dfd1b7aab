// The archive of a checkpoint goes to another engine: podman restores it, with kapsel-runtime as its OCI runtime.

import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { scratch, testEngine, type TestEngine } from '../harness/engine.ts';
import { busybox, busyboxArchive } from '../managers/images.ts';
import { Machine, removeParent, runtime, tag } from '../managers/machine.ts';
import { criu } from './criu.ts';

const t = suite('podman restores what kapsel has checkpointed');
let machine: Machine;
let engine: TestEngine;

const storage = [
  '--root',
  join(scratch, 'podman'),
  '--runroot',
  '/run/podman-test',
  '--tmpdir',
  '/run/podman-test/tmp',
];
const words = (args: string[]) => [...storage, '--cgroup-manager', 'cgroupfs', '--events-backend', 'file', ...args];
const podman = (...args: string[]) => machine.output('podman', words(args));

async function kapsel(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await engine.kapsel(args);
  assert.is(exitCode, 0, stderr);
  return stdout.trim();
}

t.before(async () => {
  const program = await criu('trixie');
  process.env['KAPSEL_CRIU'] = program;
  engine = await testEngine();
  // The archive names the runtime, and podman looks for it among those that it knows.
  const settings = join(scratch, 'containers.conf');
  await writeFile(settings, `[engine.runtimes]\nkapsel-runtime = ["${runtime}"]\n`);
  const PATH = `${dirname(program)}:/usr/sbin:/usr/bin:/sbin:/bin`;
  machine = await Machine.make({ PATH, CONTAINERS_CONF: settings });
  await mkdir(join(scratch, 'podman'));
  const image = await busyboxArchive();
  await podman('load', '--input', image);
  await kapsel('load', '--input', image);
});

t.after(async () => {
  await machine.run('podman', words(['system', 'reset', '--force']));
  await machine.close();
  await removeParent(tag, ['conmon']);
  await engine.close();
});

/** The last line of the counter's file, once it has as many. */
async function answer(lines: number, read: () => Promise<string>): Promise<string> {
  for (;;) {
    const text = (await read()).trim().split('\n');
    if (text.length >= lines) return text[lines - 1]!;
    await setTimeout(20);
  }
}

t('its memory and its files, and it does not end with whoever has restored it', async () => {
  const archive = join(scratch, 'wanderer.tar.gz');
  const counter = `: > /tmp/answers; busybox mkfifo /tmp/ask; exec 3<> /tmp/ask; n=0
    while read word <&3; do n=$((n + 1)); echo "$n $word" >> /tmp/answers; done`;
  const ask = (word: string) => ['sh', '-c', `test -p /tmp/ask && echo ${word} > /tmp/ask`];
  await kapsel('run', '--detach', '--name', 'wanderer', '--network', 'none', busybox, 'sh', '-c', counter);
  while ((await engine.kapsel(['exec', 'wanderer', ...ask('one')])).exitCode !== 0) await setTimeout(20);
  assert.is(await answer(1, () => kapsel('exec', 'wanderer', 'cat', '/tmp/answers')), '1 one');
  await kapsel('checkpoint', '--compress', 'gzip', '--export', archive, 'wanderer');

  await podman('container', 'restore', '--import', archive);
  await podman('exec', 'wanderer', ...ask('two'));
  assert.is(await answer(2, () => podman('exec', 'wanderer', 'cat', '/tmp/answers')), '2 two');
  assert.is(await podman('inspect', '--format', '{{.State.Status}}', 'wanderer'), 'running');
  await podman('rm', '--force', '--time', '0', 'wanderer');
  assert.is(await machine.output('sh', ['-c', 'ls -A /run/kapsel-runtime | grep -v ^@ ; :']), '');

  // And it is still one of ours: it ends with its monitor.
  await kapsel('rm', 'wanderer');
  await kapsel('restore', archive);
  await kapsel('exec', 'wanderer', ...ask('two'));
  assert.is(await answer(2, () => kapsel('exec', 'wanderer', 'cat', '/tmp/answers')), '2 two');
  const pid = await kapsel('inspect', '--format', '{{.State.Pid}}', 'wanderer');
  const monitor = /^PPid:\s+(\d+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1];
  process.kill(Number(monitor), 'SIGKILL');
  const until = Date.now() + 10_000;
  while (existsSync(`/proc/${pid}`) && Date.now() < until) await setTimeout(20);
  const outlived = existsSync(`/proc/${pid}`);
  if (outlived) process.kill(Number(pid), 'SIGKILL');
  assert.not.ok(outlived, 'it has outlived its monitor');
  await kapsel('rm', 'wanderer');
});

t.run();
