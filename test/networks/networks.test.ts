// Networks as names, addresses and rows.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testEngine, type TestEngine } from '../harness/engine.ts';

const t = suite('networks');
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
});

t.after(() => test.close());

const lines = (text: string) => text.trimEnd().split('\n');

t('the predefined ones are always there and stay', async () => {
  const { stdout } = await test.kapsel(['network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}']);
  assert.equal(lines(stdout), ['bridge bridge local', 'host host local', 'none null local']);
  for (const name of ['bridge', 'host', 'none']) {
    const { exitCode, stderr } = await test.kapsel(['network', 'rm', name]);
    assert.is(exitCode, 1);
    assert.match(stderr, `${name} is a pre-defined network and cannot be removed`);
  }
});

t('one is made, listed, inspected and removed', async () => {
  const made = await test.kapsel(['network', 'create', '--label', 'team=red', 'web']);
  assert.match(made.stdout, /^[0-9a-f]{64}\n$/);
  const id = made.stdout.trim();
  const table = await test.kapsel(['network', 'ls', '-f', 'label=team=red']);
  assert.match(table.stdout, /^NETWORK ID\s+NAME\s+DRIVER\s+SCOPE\n/);
  assert.match(table.stdout, new RegExp(`\\n${id.slice(0, 12)}\\s+web\\s+bridge\\s+local\\n$`));
  const [inspected] = JSON.parse((await test.kapsel(['network', 'inspect', id.slice(0, 6)])).stdout);
  assert.is(inspected.Name, 'web');
  assert.is(inspected.Interface, `kbr-${id.slice(0, 11)}`);
  const [{ Subnet, Gateway }] = inspected.IPAM.Config;
  assert.match(Subnet, /^10\.(6[4-9]|7\d)\.\d+\.0\/24$/);
  assert.is(Gateway, Subnet.replace('.0/24', '.1'));
  const again = await test.kapsel(['network', 'create', 'web']);
  assert.is(again.exitCode, 1);
  assert.match(again.stderr, /^kapsel: network with name web already exists\n$/);
  assert.is((await test.kapsel(['network', 'rm', 'web'])).stdout, 'web\n');
  const gone = await test.kapsel(['network', 'inspect', 'web']);
  assert.is(gone.exitCode, 1);
  assert.match(gone.stderr, 'No such network: web');
  assert.is((await test.kapsel(['network', 'rm', '-f', 'web'])).exitCode, 0);
});

t('ls shows those that the filters leave', async () => {
  await test.engine.networks.create('lan', { driver: 'macvlan', options: { parent: 'lan0' } });
  const { id } = await test.engine.networks.create('used');
  await test.output('create', '--network', 'used', 'host:sleep', 'sleep', '0');
  const listed = async (...filters: string[]) => {
    const flags = filters.flatMap((filter) => ['-f', filter]);
    return lines(await test.output('network', 'ls', ...flags, '--format', '{{.Name}}'));
  };
  assert.equal(await listed('driver=macvlan'), ['lan']);
  assert.equal(await listed('driver=null', 'driver=host'), ['host', 'none']);
  assert.equal(await listed(`id=${id.slice(0, 9)}`), ['used']);
  assert.equal(await listed('name=us'), ['used']);
  assert.equal(await listed('type=builtin'), ['bridge', 'host', 'none']);
  assert.equal(await listed('type=custom'), ['lan', 'used']);
  assert.equal(await listed('dangling=true'), ['lan']);
  assert.equal(await listed('dangling=false'), ['bridge', 'host', 'none', 'used']);
  assert.equal(await listed('type=custom', 'driver=bridge'), ['used']);
  const { exitCode, stderr } = await test.kapsel(['network', 'ls', '-f', 'colour=red']);
  assert.is(exitCode, 1);
  assert.match(stderr, "invalid filter 'colour'");
  for (const { id } of await test.engine.containers.list({ all: true })) await test.output('rm', id);
  await test.output('network', 'rm', 'lan', 'used');
});

t('each has addresses of its own', async () => {
  const subnets = async (name: string) => (await test.engine.networks.inspect(name)).subnets;
  await test.engine.networks.create('one');
  await test.engine.networks.create('two', { ipv6: true });
  const [one, two] = [await subnets('one'), await subnets('two')];
  assert.is.not(one[0]!.subnet, two[0]!.subnet);
  assert.match(two[1]!.subnet, /^fd[0-9a-f]{2}:[0-9a-f:]+::\/64$/);
  const overlapping = await test.kapsel(['network', 'create', '--subnet', one[0]!.subnet.replace('/24', '/25'), 'x']);
  assert.is(overlapping.exitCode, 1);
  assert.match(overlapping.stderr, 'Pool overlaps with other one on this address space');
  assert.match(overlapping.stderr, 'of network one');
});

t('subnets, gateways and ranges are as asked for', async () => {
  const args = ['--subnet', '10.9.0.0/16', '--subnet', 'fd00:9::/64', '--gateway', '10.9.0.254'];
  const more = ['--ip-range', '10.9.5.0/24', '--aux-address', 'router=10.9.5.7', '-o', 'mtu=1400'];
  assert.is((await test.kapsel(['network', 'create', ...args, ...more, 'asked'])).exitCode, 0);
  const { subnets, ipv6 } = await test.engine.networks.inspect('asked');
  assert.equal(subnets, [
    { subnet: '10.9.0.0/16', gateway: '10.9.0.254', range: '10.9.5.0/24', reserved: ['10.9.5.7'] },
    { subnet: 'fd00:9::/64', gateway: 'fd00:9::1' },
  ]);
  assert.ok(ipv6);
});

t('what cannot be is said in one line and leaves nothing', async () => {
  const before = (await test.engine.networks.list()).length;
  const wrong: [string[], RegExp][] = [
    [['--subnet', '10.1.0.0'], /invalid subnet 10\.1\.0\.0/],
    [['--subnet', '10.1.0.0/31'], /no room/],
    [['--subnet', '10.1.0.0/24', '--gateway', '10.2.0.1'], /no subnet contains 10\.2\.0\.1/],
    [['--subnet', '10.1.0.0/24', '--ip-range', '10.1.0.0/16'], /invalid range/],
    [['--subnet', '10.1.0.0/24', '--subnet', '10.1.0.0/25'], /Pool overlaps/],
    [['--gateway', '10.2.0.1'], /no subnet contains 10\.2\.0\.1/],
    [['--ipv4=false'], /IPv4 or IPv6 must be enabled/],
    [['--ipv4=false', '--ipv6', '--subnet', '10.1.0.0/24'], /a network without IPv4 cannot have an IPv4 subnet/],
    [['-d', 'overlay'], /unknown network driver overlay/],
    [['-o', 'speed=9'], /unknown option speed of a bridge network/],
    [['-o', 'mtu=fast'], /invalid mtu 'fast'/],
    [['--interface-name', 'a-name-that-is-too-long'], /invalid interface name/],
    [['--interface-name', 'kapsel0'], /the interface kapsel0 is that of network bridge/],
  ];
  for (const [args, message] of wrong) {
    const { exitCode, stdout, stderr } = await test.kapsel(['network', 'create', ...args, 'wrong']);
    assert.is(exitCode, 1, args.join(' '));
    assert.is(stdout, '');
    assert.match(stderr, message);
    assert.is(lines(stderr).filter((line) => line.startsWith('kapsel: ')).length, 1, stderr);
  }
  for (const name of ['a b', '-x', 'host', 'none', 'bridge', 'default']) {
    const { exitCode } = await test.kapsel(['network', 'create', '--', name]);
    assert.is(exitCode, 1, name);
  }
  assert.is((await test.engine.networks.list()).length, before);
});

t.run();
