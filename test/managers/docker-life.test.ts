// Docker with kapsel-runtime named by `--runtime`: what happens to a container after its start.
// deadline: 240

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { scratch } from '../harness/engine.ts';
import { Docker } from './dockerd.ts';
import { busyboxArchive } from './images.ts';

const t = suite('docker life');
let docker: Docker;

/** A test that leaves nothing behind. */
function clean(name: string, test: () => Promise<void>): void {
  t(name, () => docker.cleanly(test));
}

/** Starts a container that stays. */
const start = (name: string, flags: string[], ...program: string[]) =>
  docker.output('run', '--detach', '--runtime', 'kapsel', '--name', name, ...flags, 'box:1', ...program);
const exec = (name: string, ...program: string[]) => docker.output('exec', name, ...program);

t.before(async () => {
  docker = await Docker.make();
  await docker.output('load', '--input', await busyboxArchive());
  await docker.remember();
});

t.after(() => docker.close());

clean('exec: output, exit status, input, user, directory, environment', async () => {
  await start('one', [], 'sleep', '1000');
  assert.is(await docker.inspect('one', '.HostConfig.Runtime'), 'kapsel');
  const { exitCode, stdout, stderr } = await docker.run(
    ['exec', '--interactive', 'one', 'sh', '-c', 'cat; echo err >&2; exit 3'],
    { input: 'in\n' },
  );
  assert.equal({ exitCode, stdout, stderr }, { exitCode: 3, stdout: 'in\n', stderr: 'err\n' });
  const flags = ['exec', '--user', '1000:1000', '--workdir', '/tmp', '--env', 'A=b', 'one'];
  assert.is(await docker.output(...flags, 'sh', '-c', 'id -u; pwd; echo $A'), '1000\n/tmp\nb');
  const missing = await docker.run(['exec', 'one', 'no-such-program']);
  assert.is(missing.exitCode, 126, missing.stderr);
  assert.match(missing.stderr + missing.stdout, 'no-such-program');
  assert.match(
    await docker.output('exec', '--privileged', 'one', 'busybox', 'grep', 'CapEff', '/proc/self/status'),
    /3[df]feffffff|3fffffffff/,
  );
});

clean('exec on a terminal', async () => {
  await start('one', [], 'sleep', '1000');
  const pty = await docker.terminal('exec', '-it', 'one', 'sh');
  await pty.shows(/\/data # /);
  pty.type('busybox tty; busybox stty size\r');
  await pty.shows(/\/dev\/pts\/\d\s+24 80/);
  pty.type('echo slee""ping; sleep 1000\r');
  await pty.shows(/sleeping/);
  pty.type('\x03');
  await pty.shows(/\^C[^]*\/data # /);
  pty.type('echo inter""rupted\r');
  await pty.shows(/interrupted/);
  pty.type('exit 5\r');
  assert.is(await pty.exited, 5);
});

clean('exec --detach goes on by itself', async () => {
  await start('one', [], 'sleep', '1000');
  await docker.output('exec', '--detach', 'one', 'sh', '-c', 'echo done >/data/done; exec sleep 1000');
  for (let tries = 0; tries < 50 && (await exec('one', 'ls', '/data')).indexOf('done') < 0; tries += 1)
    await setTimeout(100);
  assert.is(await exec('one', 'cat', '/data/done'), 'done');
});

clean('logs', async () => {
  await start('one', [], 'sh', '-c', 'echo first; echo second >&2; echo third');
  await docker.until('one', '.State.Status', 'exited');
  const { stdout, stderr } = await docker.run(['logs', 'one']);
  assert.is(stdout, 'first\nthird\n');
  assert.is(stderr, 'second\n');
});

clean('attach to a terminal', async () => {
  await start('one', ['-it'], 'sh');
  const pty = await docker.terminal('attach', 'one');
  pty.type('echo at""tached\r');
  await pty.shows(/attached/);
  pty.type('exit 6\r');
  assert.is(await pty.exited, 6);
});

clean('top and stats', async () => {
  await start('one', ['--memory', '64m', '--init'], 'sleep', '1000');
  const top = await docker.output('top', 'one', '-o', 'pid,comm');
  assert.match(top, /sleep/);
  assert.is(top.split('\n').length, 3);
  const format = '{{.PIDs}} {{.MemUsage}} {{.Name}}';
  const stats = await docker.output('stats', '--no-stream', '--format', format, 'one');
  assert.match(stats, /^2 [\d.]+[KM]iB \/ 64MiB one$/);
});

clean('update changes the limits of the running container', async () => {
  await start('one', ['--memory', '64m', '--memory-swap', '64m'], 'sleep', '1000');
  const limits = ['--memory', '128m', '--memory-swap', '128m', '--cpu-shares', '512', '--pids-limit', '50'];
  await docker.output('update', ...limits, '--cpus', '0.5', 'one');
  const stats = await docker.output('stats', '--no-stream', '--format', '{{.MemUsage}}', 'one');
  assert.match(stats, '128MiB');
  const pid = await docker.inspect('one', '.State.Pid');
  const host = await docker.machine.output('cat', [`/proc/${pid}/cgroup`]);
  const path = (controller: string, v1: string, v2: string) => {
    const found = new RegExp(`^\\d+:([^:]*,)?${controller}(,[^:]*)?:(.*)$`, 'm').exec(host);
    if (found === null) return join('/sys/fs/cgroup', /^0::(.*)$/m.exec(host)?.[1] ?? '', v2);
    return join('/sys/fs/cgroup', controller, found[3] as string, v1);
  };
  const value = async (...names: [string, string, string]) => (await readFile(path(...names), 'utf8')).trim();
  assert.is(await value('memory', 'memory.limit_in_bytes', 'memory.max'), '134217728');
  assert.is(await value('pids', 'pids.max', 'pids.max'), '50');
  assert.match(await value('cpu', 'cpu.cfs_quota_us', 'cpu.max'), /^50000( 100000)?$/);
  assert.match(await value('cpu', 'cpu.shares', 'cpu.weight'), /^(512|20|59)$/);
});

clean('pause and unpause', async () => {
  await start('one', [], 'sh', '-c', 'while :; do echo tick >>/data/ticks; sleep 0.05; done');
  const ticks = async () =>
    Number(await exec('one', 'busybox', 'wc', '-c', '/data/ticks').then((line) => line.split(' ')[0]));
  await docker.output('pause', 'one');
  assert.is(await docker.inspect('one', '.State.Status'), 'paused');
  const refused = await docker.run(['exec', 'one', 'true']);
  assert.is.not(refused.exitCode, 0);
  const copy = async () =>
    docker.output('cp', 'one:/data/ticks', join(scratch, 'ticks')).then(() => readFile(join(scratch, 'ticks'), 'utf8'));
  const before = await copy();
  await setTimeout(300);
  assert.is(await copy(), before);
  await docker.output('unpause', 'one');
  for (let tries = 0; tries < 50 && (await ticks()) <= before.length; tries += 1) await setTimeout(100);
  assert.ok((await ticks()) > before.length);
});

clean('kill with a signal, and with SIGKILL', async () => {
  await start('one', [], 'sh', '-c', 'trap "echo caught" USR1; echo ready; while :; do sleep 0.1; done');
  for (let tries = 0; tries < 50 && !(await docker.output('logs', 'one')).includes('ready'); tries += 1)
    await setTimeout(100);
  await docker.output('kill', '--signal', 'USR1', 'one');
  for (let tries = 0; tries < 50 && !(await docker.output('logs', 'one')).includes('caught'); tries += 1)
    await setTimeout(100);
  assert.is(await docker.output('logs', 'one'), 'ready\ncaught');
  await docker.output('kill', 'one');
  await docker.until('one', '.State.Status', 'exited');
  assert.is(await docker.inspect('one', '.State.ExitCode'), '137');
});

clean('stop, start, restart, wait', async () => {
  await start('one', [], 'sh', '-c', 'trap "exit 11" TERM; echo ready; while :; do sleep 0.1; done');
  const ready = async (times: number) => {
    for (let tries = 0; tries < 50 && (await docker.output('logs', 'one')).split('ready').length <= times; tries += 1)
      await setTimeout(100);
  };
  await ready(1);
  const wait = docker.output('wait', 'one');
  await docker.output('stop', 'one');
  assert.is(await wait, '11');
  await docker.output('start', 'one');
  await ready(2);
  await docker.output('restart', 'one');
  await ready(3);
  assert.is(await docker.inspect('one', '.State.Running'), 'true');
  assert.is(await docker.output('logs', 'one'), 'ready\nready\nready');
});

clean('restart policies', async () => {
  await start('thrice', ['--restart', 'on-failure:2'], 'sh', '-c', 'echo run; exit 4');
  await docker.until('thrice', '.RestartCount', '2');
  await docker.until('thrice', '.State.Status', 'exited');
  assert.is(await docker.output('logs', 'thrice'), 'run\nrun\nrun');
  assert.is(await docker.inspect('thrice', '.State.ExitCode'), '4');
  await start('always', ['--restart', 'always'], 'sleep', '1000');
  const before = await docker.inspect('always', '.State.Pid');
  await docker.machine.output('kill', ['-KILL', before]);
  await docker.until('always', '.RestartCount', '1');
  await docker.until('always', '.State.Running', 'true');
  assert.is.not(await docker.inspect('always', '.State.Pid'), before);
});

clean('cp in both directions, and diff, and export', async () => {
  await start('one', [], 'sleep', '1000');
  const directory = join(scratch, 'copied');
  await mkdir(directory);
  await writeFile(join(directory, 'file'), 'from outside\n');
  await docker.output('cp', directory, 'one:/data/in');
  assert.is(await exec('one', 'cat', '/data/in/file'), 'from outside');
  await exec('one', 'sh', '-c', 'echo from inside >/data/out');
  await docker.output('cp', 'one:/data/out', join(directory, 'out'));
  assert.is(await readFile(join(directory, 'out'), 'utf8'), 'from inside\n');
  assert.match(await docker.output('diff', 'one'), /^A \/data\/in\/file$/m);
  await docker.output('export', '--output', join(directory, 'all.tar'), 'one');
  const names = await docker.machine.output('tar', ['--list', '--file', join(directory, 'all.tar')]);
  assert.match(names, /^data\/out$/m);
});

clean('health checks', async () => {
  await start('one', ['--health-cmd', 'test -e /data/kept', '--health-interval', '200ms'], 'sleep', '1000');
  await docker.until('one', '.State.Health.Status', 'healthy');
  await exec('one', 'busybox', 'rm', '/data/kept');
  await docker.until('one', '.State.Health.Status', 'unhealthy');
});

clean('rm --force of a container with many processes', async () => {
  await start('one', [], 'sh', '-c', 'for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait');
  await exec('one', 'sh', '-c', 'sleep 1000 & sleep 1000 &');
  await docker.output('rm', '--force', 'one');
});

t.run();
