// Names, asked for with dig: of containers, in both directions and both families, of services of several containers, and of
// the world, from the servers that --dns names.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { cable, Machine } from '../harness/machine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

// What the machine's /etc/resolv.conf says is this file's own, too.
inOwnNetwork(import.meta.url, '--mount', '--propagation', 'private');

const t = suite('names');
const image = 'host:sleep';
let test: TestEngine;
let upstream: Machine | undefined;
/** What the upstream server was asked. */
let asked = '';

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('both', { subnets: [{ subnet: '10.8.0.0/24' }, { subnet: 'fd00:8::/64' }] });
  await test.engine.networks.create('four', { subnets: [{ subnet: '10.9.0.0/24' }] });
  upstream = await Machine.make();
  cable('up', { pid: process.pid, addresses: ['192.0.2.1/24'] }, { pid: upstream.pid, addresses: ['192.0.2.53/24'] });
  const server = new URL('../harness/name-server.ts', import.meta.url).pathname;
  const program = upstream.start(
    process.execPath,
    server,
    '192.0.2.53',
    'www.example.com=198.51.100.7',
    'web=198.51.100.8',
  );
  program.stdout!.on('data', (chunk: Buffer) => (asked += chunk.toString()));
  await once(program.stdout!, 'data');
});

t.after(async () => {
  upstream?.stop();
  await test.close();
});

/** Starts one and resolves to a process of it. */
async function start(name: string, ...flags: string[]): Promise<number> {
  const command = ['run', '-d', '--name', name, '--dns', '192.0.2.53', ...flags, image, 'sleep', '600'];
  const { exitCode, stderr } = await test.kapsel(command);
  assert.is(exitCode, 0, stderr);
  return (await (await test.engine.containers.get(name)).inspect()).State.Pid;
}

/** dig in the network namespace of a process. */
async function dig(pid: number, ...question: string[]): Promise<string[]> {
  const args = ['--net', '--target', String(pid), 'dig', '@127.0.0.11', '+tries=1', '+time=5', ...question];
  const { stdout } = await run('nsenter', args);
  return stdout.trim().split('\n').filter(Boolean);
}

/** As `STATUS, answers`. */
async function verdict(pid: number, ...question: string[]): Promise<string> {
  const text = (await dig(pid, ...question)).join('\n');
  return `${/status: (\w+)/.exec(text)?.[1]}, ${/ANSWER: (\d+)/.exec(text)?.[1]}`;
}

t('a container has its addresses by its name, and its name by its addresses', async () => {
  await start('web', '--network', 'name=both,ip=10.8.0.80,ip6=fd00:8::80', '--network-alias', 'site');
  const pid = await start('client', '--network', 'both');
  for (const name of ['web', 'WEB', 'site', 'web.']) {
    assert.equal(await dig(pid, '+short', name, 'A'), ['10.8.0.80'], name);
    assert.equal(await dig(pid, '+short', name, 'AAAA'), ['fd00:8::80'], name);
    assert.equal(await dig(pid, '+short', '+tcp', name, 'A'), ['10.8.0.80'], name);
  }
  for (const address of ['10.8.0.80', 'fd00:8::80']) {
    assert.equal(await dig(pid, '+short', '-x', address), ['web.'], address);
  }
  // Neither what it has not of one family, nor another type, is asked of anybody else, who might have one.
  assert.is(await verdict(pid, 'web', 'MX'), 'NOERROR, 0');
  await test.kapsel(['rm', '-f', 'web']);
  // Now the world's.
  assert.equal(await dig(pid, '+short', 'web', 'A'), ['198.51.100.8']);
  await test.kapsel(['rm', '-f', 'client']);
});

t('a name of the other family alone is known, and has no address', async () => {
  await start('web', '--network', 'four');
  const pid = await start('client', '--network', 'four');
  asked = '';
  assert.is(await verdict(pid, 'web', 'AAAA'), 'NOERROR, 0');
  assert.is(asked, '');
  await test.kapsel(['rm', '-f', 'web', 'client']);
});

t('the containers of a service are answered in turn, while they live', async () => {
  const pid = await start('client', '--network', 'four');
  const addresses = ['10.9.0.101', '10.9.0.102', '10.9.0.103'];
  for (const [at, address] of addresses.entries()) {
    await start(`s${at}`, '--network', `name=four,ip=${address},alias=service`);
  }
  const first = new Set<string | undefined>();
  for (let round = 0; round < 9; round++) {
    const found = await dig(pid, '+short', 'service', 'A');
    assert.equal(found.toSorted(), addresses);
    first.add(found[0]);
  }
  assert.is(first.size, addresses.length);
  await test.kapsel(['rm', '-f', 's1']);
  assert.equal((await dig(pid, '+short', 'service', 'A')).toSorted(), ['10.9.0.101', '10.9.0.103']);
  await test.kapsel(['rm', '-f', 's0', 's2', 'client']);
});

t('other names are asked of the servers of --dns, from the host', async () => {
  const pid = await start('client', '--network', 'four');
  asked = '';
  assert.equal(await dig(pid, '+short', 'www.example.com', 'A'), ['198.51.100.7']);
  assert.is(await verdict(pid, 'absent.example.com', 'A'), 'NXDOMAIN, 0');
  assert.equal(asked.trim().split('\n'), ['A www.example.com', 'A absent.example.com']);
  await test.kapsel(['rm', '-f', 'client']);
  // On an internal network there is nobody to ask.
  await test.engine.networks.create('inner', { internal: true });
  const inner = await start('inner', '--network', 'inner');
  asked = '';
  assert.is(await verdict(inner, 'www.example.com', 'A'), 'NXDOMAIN, 0');
  assert.is(asked, '');
  await test.kapsel(['rm', '-f', 'inner']);
});

t('a resolver of the machine that nobody else reaches is asked for its containers', async () => {
  const server = new URL('../harness/name-server.ts', import.meta.url).pathname;
  // As systemd-resolved: in the container that address is the container's own.
  const resolver = spawn(process.execPath, [server, '127.0.0.53', 'www.example.com=198.51.100.9']);
  try {
    await once(resolver.stdout, 'data');
    writeFileSync(`${test.directory}/resolv.conf`, 'nameserver 127.0.0.53\noptions edns0\n');
    const { exitCode } = await run('mount', ['--bind', `${test.directory}/resolv.conf`, '/etc/resolv.conf']);
    assert.is(exitCode, 0);
    await test.output('run', '-d', '--name', 'client', '--network', 'four', image, 'sleep', '600');
    const { Pid } = (await (await test.engine.containers.get('client')).inspect()).State;
    assert.equal(await dig(Pid, '+short', 'www.example.com', 'A'), ['198.51.100.9']);
    await test.kapsel(['rm', '-f', 'client']);
  } finally {
    await run('umount', ['/etc/resolv.conf']);
    resolver.kill();
  }
});

t.run();
