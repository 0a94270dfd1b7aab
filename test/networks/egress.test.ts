// Egress rules of a whole engine, attacked by somebody who has all rights in the container's network: by raw packets, forged
// senders, fragments, headers of IPv6, other protocols, and by names that lead elsewhere than they should.

import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { cable, inside, Machine, startInside } from '../harness/machine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('egress rules');
const image = 'host:busybox,sleep';
const attacks = new URL('./egress-attacks.py', import.meta.url).pathname;
const [target4, target6, metadata, allowed, pinned] = [
  '192.0.2.2',
  '2001:db8::2',
  '169.254.169.254',
  '203.0.113.1',
  '198.51.100.1',
];
const gateway = '10.8.0.1';
let test: TestEngine;
let outside: Machine | undefined;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('web', { subnets: [{ subnet: '10.8.0.0/24' }, { subnet: 'fd00:8::/64' }] });
  outside = await Machine.make();
  const here = ['192.0.2.1/24', '2001:db8::1/64'];
  const there = [`${target4}/24`, `${target6}/64`, `${allowed}/32`, `${pinned}/32`, `${metadata}/32`];
  cable('out', { pid: process.pid, addresses: here }, { pid: outside.pid, addresses: there });
  for (const address of [allowed, pinned, metadata]) await run('ip', ['route', 'add', address!, 'via', target4!]);
  // The first packet to an unknown neighbour may wait a second for the second question.
  for (const target of [target4, target6]) await run('ping', ['-c', '3', '-i', '0.2', '-W', '2', target!]);
  const server = new URL('../harness/name-server.ts', import.meta.url).pathname;
  const records = [`good.example.com=${pinned}`, `rebind.example.com=${gateway}`, `rebind.example.com=${metadata}`];
  const program = outside.start(process.execPath, server, target4!, ...records);
  await once(program.stdout!, 'data');
});

t.after(async () => {
  outside?.stop();
  await test.close();
});

/** Starts a container, asks for the names and attacks; what of it arrived, by its names. */
async function attack(name: string, ...flags: string[]): Promise<string[]> {
  const common = ['run', '-d', '--name', name, '--network', 'web', '--dns', target4!];
  const { exitCode, stderr } = await test.kapsel([...common, ...flags, image, 'sleep', '600']);
  assert.is(exitCode, 0, stderr);
  const { Pid } = (await (await test.engine.containers.get(name)).inspect()).State;
  const dump = startInside(outside!.pid, 'tcpdump', '--immediate-mode', '-lnnAs0', '-i', 'outb');
  let packets = '';
  dump.stdout!.on('data', (chunk: Buffer) => (packets += chunk.toString('latin1')));
  await once(dump.stderr!, 'data');
  for (const asked of ['good', 'rebind']) inside(Pid, 'dig', '@127.0.0.11', '+tries=1', `${asked}.example.com`);
  inside(Pid, 'python3', attacks, target4!, target6!, metadata!, allowed!, pinned!);
  // What is sent last arrives last.
  for (let tries = 0; !packets.includes('sent-allowed.') && tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  dump.kill();
  await once(dump, 'exit');
  return [...new Set([...packets.matchAll(/sent-([\w-]+)\./g)].map(([, sent]) => sent!))].toSorted();
}

const everything =
  'allowed atomic-fragment destination fragment gre hop-by-hop metadata options ping pinned resolver routing sctp six spoofed spoofed-six tunnel';

t('without rules every attack arrives', async () => {
  assert.equal((await attack('free')).join(' '), everything);
  await test.kapsel(['rm', '-f', 'free']);
});

t('with rules nothing does but what they allow', async () => {
  const arrived = await attack('guarded', '--egress', `allow=${allowed},*.example.com`);
  assert.equal(arrived, ['allowed', 'pinned']);
  // The name that leads to the host: it may be asked for, and opens nothing.
  const { Pid } = (await (await test.engine.containers.get('guarded')).inspect()).State;
  const dig = inside(Pid, 'dig', '@127.0.0.11', '+short', 'rebind.example.com').trim().split('\n');
  assert.equal(dig.toSorted(), [gateway, metadata]);
  const host = startInside(process.pid, 'busybox', 'httpd', '-f', '-p', '9999', '-h', '/etc');
  const fetched = (pid: number, ...flags: string[]) =>
    run('nsenter', [
      '--net',
      '--target',
      String(pid),
      'curl',
      '-sS',
      '-m',
      '2',
      ...flags,
      `http://${gateway}:9999/hostname`,
    ]);
  const retry = ['--retry', '5', '--retry-connrefused', '--retry-delay', '1'];
  assert.is((await fetched(process.pid, ...retry)).exitCode, 0);
  assert.is.not((await fetched(Pid)).exitCode, 0);
  host.kill();
  await test.kapsel(['rm', '-f', 'guarded']);
});

t('without names nobody is asked for any, not even by another server', async () => {
  const arrived = await attack('blind', '--egress', `allow=${allowed}`);
  assert.equal(arrived, ['allowed']);
  await test.kapsel(['rm', '-f', 'blind']);
});

t.run();
