// Containers and another machine, of both families: what it reaches, by which address it is seen, and what it sees.

import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { cable, Machine, startInside } from '../harness/machine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('containers and another machine');
const image = 'host:busybox,curl,iperf3,sleep';
/** The host, and the other machine. */
const [host4, host6, other4, other6] = ['192.0.2.1', '2001:db8::1', '192.0.2.2', '2001:db8::2'];
let test: TestEngine;
let machine: Machine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('web', { ipv6: true });
  machine = await Machine.make();
  const [here, there] = [
    [`${host4}/24`, `${host6}/64`],
    [`${other4}/24`, `${other6}/64`],
  ];
  cable('m', { pid: process.pid, addresses: here! }, { pid: machine.pid, addresses: there! });
});

t.after(async () => {
  machine?.stop();
  await test.close();
});

async function start(name: string, flags: string[], ...command: string[]): Promise<number> {
  const { exitCode, stderr } = await test.kapsel([
    'run',
    '-d',
    '--name',
    name,
    '-h',
    name,
    ...flags,
    image,
    ...command,
  ]);
  assert.is(exitCode, 0, stderr);
  return (await (await test.engine.containers.get(name)).inspect()).State.Pid;
}

const serve = (name: string, ...flags: string[]) =>
  start(name, ['--network', 'web', ...flags], 'busybox', 'httpd', '-f', '-p', '80', '-h', '/etc');
const retry = ['--retry', '5', '--retry-connrefused', '--retry-delay', '1'];
const get = (url: string) => ['-sS', '-m', '5', ...retry, url];

/** The first packet that a filter of tcpdump lets through in a network namespace while something is done: its line. */
async function seen(pid: number, link: string, filter: string, work: () => Promise<unknown>): Promise<string> {
  const command = ['tcpdump', '--immediate-mode', '-lnn', '-c', '1', '-i', link, filter];
  const dump = startInside(pid, ...command);
  let output = '';
  dump.stdout!.on('data', (chunk: Buffer) => (output += chunk.toString()));
  // It says when it listens.
  await once(dump.stderr!, 'data');
  const ended = once(dump, 'exit');
  await work();
  await ended;
  return output;
}

t('a published port shows who comes', async () => {
  const pid = await serve('web', '-p', '8080:80');
  for (const [host, from, family] of [
    [host4, other4, 'ip'],
    [`[${host6}]`, other6, 'ip6'],
  ]) {
    const packet = await seen(pid, 'eth0', `${family} and tcp dst port 80`, async () => {
      const { stdout, stderr } = await machine.run('curl', ...get(`http://${host}:8080/hostname`));
      assert.is(stdout, 'web\n', stderr);
    });
    assert.match(packet, `${from}.`, packet);
  }
  await test.kapsel(['rm', '-f', 'web']);
});

t('a port of one address is that of no other', async () => {
  await serve('local', '-p', '127.0.0.1:8081:80', '-p', `${host4}:8082:80`);
  assert.is((await run('curl', get('http://127.0.0.1:8081/hostname'))).stdout, 'local\n');
  assert.is((await machine.run('curl', ...get(`http://${host4}:8082/hostname`))).stdout, 'local\n');
  const closed = ['-sS', '-m', '2'];
  assert.is.not((await machine.run('curl', ...closed, `http://${host4}:8081/hostname`)).exitCode, 0);
  assert.is.not((await machine.run('curl', ...closed, `http://[${host6}]:8082/hostname`)).exitCode, 0);
  // Nor is a container reached past its ports, by a neighbour that has a route to it.
  const { subnet } = (await test.engine.networks.inspect('web')).subnets[0]!;
  await machine.run('ip', 'route', 'add', subnet, 'via', host4);
  const [{ addresses: [address = ''] = [] } = {}] = (await test.engine.networks.inspect('web')).containers;
  const past = await machine.run('curl', ...closed, `http://${address.split('/')[0]}/hostname`);
  assert.is.not(past.exitCode, 0);
  await test.kapsel(['rm', '-f', 'local']);
});

t('what leaves a container has the address of the host', async () => {
  const pid = await start('out', ['--network', 'web'], 'sleep', '600');
  for (const [to, from, family] of [
    [other4, host4, 'ip'],
    [`[${other6}]`, host6, 'ip6'],
  ]) {
    const packet = await seen(machine.pid, 'mb', `${family} and tcp dst port 9`, () =>
      run('nsenter', ['--net', '--target', String(pid), 'curl', '-sS', '-m', '2', `http://${to}:9/`]),
    );
    assert.match(packet, `${from}.`, packet);
  }
  await test.kapsel(['rm', '-f', 'out']);
});

t('a container reaches others, and itself, by the ports of the host', async () => {
  const pid = await serve('one', '-p', '8083:80');
  const other = await serve('two', '-p', '8084:80');
  for (const from of [pid, other]) {
    for (const host of [host4, `[${host6}]`]) {
      for (const [port, name] of [
        [8083, 'one'],
        [8084, 'two'],
      ]) {
        const args = ['--net', '--target', String(from), 'curl', ...get(`http://${host}:${port}/hostname`)];
        const { stdout, stderr } = await run('nsenter', args);
        assert.is(stdout, `${name}\n`, `${host}:${port} ${stderr}`);
      }
    }
  }
  await test.kapsel(['rm', '-f', 'one', 'two']);
});

t('iperf3 goes through a published port, by TCP and by UDP', async () => {
  await start('iperf', ['--network', 'web', '-p', '5201:5201', '-p', '5201:5201/udp'], 'iperf3', '--server');
  for (const host of [host4, host6]) {
    for (const kind of [[], ['--udp', '--bitrate', '10M']]) {
      const args = ['--client', host, '--bytes', '300K', '--json', ...kind];
      let result = await machine.run('iperf3', ...args);
      // It listens when it can.
      for (let tries = 0; result.exitCode !== 0 && tries < 10; tries++) result = await machine.run('iperf3', ...args);
      const { end } = JSON.parse(result.stdout) as { end: { sum_received: { bytes: number } } };
      assert.ok(end.sum_received.bytes > 0, `${host} ${kind.join(' ')}`);
    }
  }
  await test.kapsel(['rm', '-f', 'iperf']);
});

t.run();
