// TCP by iperf3: between two containers beside a bare pair, and through a published port beside a bare DNAT.

import { setTimeout } from 'node:timers/promises';
import type { Container, Engine } from '../../src/index.ts';
import { median, verdict } from '../ground.ts';
import { installed } from '../peers.ts';
import { cable, inside, Machine, startInside } from '../../test/harness/machine.ts';

const rounds = 5;
const seconds = '2';

interface Course {
  name: string;
  /** A process in the client's network namespace. */
  from: number;
  to: string;
  port: number;
  /** Gbit/s. */
  rates: number[];
}

export async function throughput(engine: Engine): Promise<void> {
  if (!installed('iperf3')) return;
  await using cleanup = new AsyncDisposableStack();
  const machine = async () => {
    const made = await Machine.make();
    cleanup.defer(() => made.stop());
    return made;
  };
  const serve = (pid: number) => {
    const server = startInside(pid, 'iperf3', '--server');
    cleanup.defer(() => void server.kill());
  };
  const [one, other, left, right, client, router, server] = [
    await machine(),
    await machine(),
    await machine(),
    await machine(),
    await machine(),
    await machine(),
    await machine(),
  ];
  cable('pair', { pid: one.pid, addresses: ['10.95.0.1/24'] }, { pid: other.pid, addresses: ['10.95.0.2/24'] });
  cable('in', { pid: client.pid, addresses: ['10.96.0.2/24'] }, { pid: router.pid, addresses: ['10.96.0.1/24'] });
  cable('out', { pid: router.pid, addresses: ['10.94.0.1/24'] }, { pid: server.pid, addresses: ['10.94.0.2/24'] });
  cable('host', { pid: client.pid, addresses: ['10.97.0.2/24'] }, { pid: process.pid, addresses: ['10.97.0.1/24'] });
  // What a bridge alone takes.
  inside(process.pid, 'ip', 'link', 'add', 'bare', 'up', 'type', 'bridge');
  for (const [name, to, address] of [
    ['left', left.pid, '10.93.0.1/24'],
    ['right', right.pid, '10.93.0.2/24'],
  ] as const) {
    cable(name, { pid: process.pid, addresses: [] }, { pid: to, addresses: [address] });
    inside(process.pid, 'ip', 'link', 'set', `${name}a`, 'master', 'bare');
  }
  inside(server.pid, 'ip', 'route', 'add', 'default', 'via', '10.94.0.1');
  inside(router.pid, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  inside(
    router.pid,
    'nft',
    'table ip bare { chain pre { type nat hook prerouting priority dstnat; tcp dport 5301 dnat to 10.94.0.2:5201; }; }',
  );
  await engine.networks.create('inner', { internal: true });
  const start = async (network: string, publish: string[] = []): Promise<[Container, number, string]> => {
    const options = { command: ['/bin/sleep', '3600'], network, publish };
    const container = await engine.containers.create('bench', options);
    cleanup.defer(() => container.remove({ force: true }));
    await container.start();
    const { State, NetworkSettings } = await container.inspect();
    return [container, State.Pid, NetworkSettings.Networks[network]!.IPAddress];
  };
  const [, near] = await start('bench');
  const [, far, address] = await start('bench', ['5302:5201']);
  const [, inner] = await start('inner');
  const [, innermost, innerAddress] = await start('inner');
  for (const pid of [other.pid, right.pid, server.pid, far, innermost]) serve(pid);
  await setTimeout(300);
  const courses: Course[] = [
    { name: 'a bare pair', from: one.pid, to: '10.95.0.2', port: 5201, rates: [] },
    { name: 'a bare bridge', from: left.pid, to: '10.93.0.2', port: 5201, rates: [] },
    { name: 'container to container', from: near, to: address, port: 5201, rates: [] },
    { name: 'on an internal network', from: inner, to: innerAddress, port: 5201, rates: [] },
    { name: 'a bare DNAT', from: client.pid, to: '10.96.0.1', port: 5301, rates: [] },
    { name: 'a published port', from: client.pid, to: '10.97.0.1', port: 5302, rates: [] },
  ];
  for (let round = 0; round < rounds; round++) {
    for (const { from, to, port, rates } of courses) {
      const command = ['iperf3', '--client', to, '--port', String(port), '--time', seconds, '--json'];
      const { end } = JSON.parse(inside(from, ...command)) as { end: { sum_received: { bits_per_second: number } } };
      rates.push(end.sum_received.bits_per_second / 1e9);
    }
  }
  console.log('');
  for (const { name, rates } of courses) console.log(`${name.padEnd(44)}${median(rates).toFixed(2)} Gbit/s`);
  const [pair, bridge, containers, internal, dnat, port] = courses.map(({ rates }) => median(rates)) as [
    number,
    ...number[],
  ];
  verdict('container to container / a bare pair', containers! / pair, 0.95, true);
  console.log(`${'container to container / a bare bridge'.padEnd(44)}${(containers! / bridge!).toFixed(2)}`);
  verdict('on an internal network / a bare pair', internal! / pair, 0.95, true);
  verdict('a published port / a bare DNAT', port! / dnat!, 0.95, true);
}
