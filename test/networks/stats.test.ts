// `kapsel stats` and `container.stats()`: what a container has used, and what went through its interfaces.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('stats');
const image = 'host:bash,busybox,head,sleep,true';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('web');
});

t.after(() => test.close());

async function start(name: string, flags: string[], ...command: string[]): Promise<void> {
  const { exitCode, stderr } = await test.kapsel(['run', '-d', '--name', name, ...flags, image, ...command]);
  assert.is(exitCode, 0, stderr);
}

t('what comes and goes by the network is counted', async () => {
  await start('web', ['--network', 'web', '-p', '8080:80'], 'busybox', 'httpd', '-f', '-p', '80', '-h', '/etc');
  const container = await test.engine.containers.get('web');
  const before = (await container.stats()).networks['eth0']!;
  const get = ['-sS', '-m', '5', '--retry', '5', '--retry-connrefused', '--retry-delay', '1'];
  assert.is((await run('curl', [...get, 'http://127.0.0.1:8080/hostname'])).exitCode, 0);
  const after = (await container.stats()).networks['eth0']!;
  assert.ok(after.rxBytes - before.rxBytes > 300 && after.txBytes - before.txBytes > 300, JSON.stringify(after));
  assert.ok(after.rxPackets - before.rxPackets >= 5 && after.txPackets - before.txPackets >= 4);
  assert.is(after.rxDropped + after.txDropped + after.rxErrors + after.txErrors, 0);
  const { stdout } = await test.kapsel(['stats', '--no-stream', '--format', '{{.Name}} {{.NetIO}}', 'web']);
  assert.match(stdout, /^web [\d.]+k?B \/ [\d.]+k?B\n$/);
  assert.not.match(stdout, / 0B/);
  await test.kapsel(['rm', '-f', 'web']);
});

t('processors, memory and processes are counted', async () => {
  const flags = ['--network', 'none', '--memory', '64m', '--pids-limit', '20', '--tmpfs', '/tmp'];
  // 8 MiB in memory that nobody can drop, then nothing but work, in two processes.
  await start('busy', flags, 'bash', '-c', 'head -c 8M /dev/zero > /tmp/file; sleep 600 & while :; do :; done');
  const container = await test.engine.containers.get('busy');
  let used = await container.stats();
  const isReady = () => used.pids.current === 2 && used.memory.usage >= 8 << 20;
  for (let tries = 0; !isReady() && tries < 2000; tries++) used = await container.stats();
  assert.is(used.pids.current, 2);
  assert.is(used.pids.limit, 20);
  assert.is(used.memory.limit, 64 << 20);
  assert.ok(used.memory.usage >= 8 << 20 && used.memory.usage < 16 << 20, String(used.memory.usage));
  assert.equal(used.networks, {});
  let later = await container.stats();
  for (let tries = 0; later.cpu.usage === used.cpu.usage && tries < 500; tries++) later = await container.stats();
  assert.ok(later.cpu.usage > used.cpu.usage);
  const { stdout } = await test.kapsel(['stats', '--no-stream']);
  const [header = '', line = ''] = stdout.split('\n');
  assert.match(header, /^CONTAINER ID +NAME +CPU % +MEM USAGE \/ LIMIT +MEM % +NET I\/O +BLOCK I\/O +PIDS$/);
  const shown =
    /^[0-9a-f]{12} +busy +(?<cpu>[\d.]+)% +[\d.]+MiB \/ 64MiB +(?<memory>[\d.]+)% +0B \/ 0B +\S+ \/ \S+ +2$/.exec(line);
  assert.ok(shown, line);
  assert.ok(Number(shown.groups!['cpu']) > 0 && Number(shown.groups!['memory']) >= 12.5, line);
  await test.kapsel(['rm', '-f', 'busy']);
});

t('one that does not run uses nothing, and one that is not there is an error', async () => {
  await start('ended', ['--network', 'none'], 'true');
  await test.kapsel(['wait', 'ended']);
  const fields = '{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}';
  const all = await test.kapsel(['stats', '--no-stream', '--all', '--format', fields]);
  assert.is(all.stdout, 'ended -- -- / -- --\n');
  assert.is((await test.kapsel(['stats', '--no-stream', '--format', fields])).stdout, '');
  const absent = await test.kapsel(['stats', '--no-stream', 'absent']);
  assert.is(absent.exitCode, 1);
  assert.match(absent.stderr, 'No such container: absent');
  const error = await (await test.engine.containers.get('ended')).stats().catch((error: Error) => error);
  assert.is((error as { code?: string }).code, 'CONTAINER_NOT_RUNNING');
  await test.kapsel(['rm', 'ended']);
});

t.run();
