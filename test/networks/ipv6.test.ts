// A network of IPv6 alone: no address of IPv4 anywhere, and everything else as elsewhere. It is in a network namespace of this
// file's own.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { cable, Machine } from '../harness/machine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('IPv6 alone');
const image = 'host:bash,busybox,cat,curl,ip,true';
let test: TestEngine;
let far: Machine | undefined;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  far = await Machine.make();
  cable('far', { pid: process.pid, addresses: ['fd01::1/64'] }, { pid: far.pid, addresses: ['fd01::9/64'] });
});

t.after(async () => {
  far?.stop();
  await test.close();
});

const kapsel = (...args: string[]) => test.output(...args);
const sh = (name: string, script: string) => kapsel('exec', name, 'bash', '-c', script);

t('it has a subnet of IPv6 and none of IPv4', async () => {
  await kapsel('network', 'create', '--ipv6', '--ipv4=false', 'six');
  const { subnets, ipv4, ipv6 } = await test.engine.networks.inspect('six');
  assert.equal([ipv4, ipv6, subnets.length], [false, true, 1]);
  assert.match(subnets[0]!.subnet, /^fd[0-9a-f:]+\/64$/);
  const [shown] = JSON.parse(await kapsel('network', 'inspect', 'six'));
  assert.equal([shown.EnableIPv4, shown.EnableIPv6], [false, true]);
  const listed = await kapsel('network', 'ls', '-f', 'name=six', '--format', '{{.IPv4}} {{.IPv6}}');
  assert.is(listed, 'false true\n');
});

t('a container on it has IPv6 alone, is found, and reaches other machines', async () => {
  const server = ['busybox', 'httpd', '-f', '-p', '[::]:80', '-h', '/etc'];
  await kapsel('run', '-d', '--name', 'web', '-h', 'web', '--network', 'six', '-p', '8080:80', image, ...server);
  const { gateway } = (await test.engine.networks.inspect('six')).subnets[0]!;
  const own = gateway.replace(/1$/, '');
  assert.is(await sh('web', 'ip -4 -br addr show eth0; ip -4 route'), '');
  assert.match(await sh('web', 'ip -6 route'), `default via ${gateway} dev eth0`);
  const hosts = await sh('web', 'cat /etc/hosts');
  assert.match(hosts, new RegExp(`^${own}\\S+\tweb$`, 'm'));
  assert.match(hosts, new RegExp(`^${gateway}\thost.docker.internal `, 'm'));
  assert.not.match(hosts, /^(?!127\.)\d+\./m);
  const shown = (await (await test.engine.containers.get('web')).inspect()).NetworkSettings.Networks.six!;
  assert.equal([shown.IPAddress, shown.Gateway, shown.IPv6Gateway], ['', '', gateway]);
  assert.match(shown.GlobalIPv6Address, new RegExp(`^${own}`));
  // By its name, from a neighbour; and itself a client, of a machine behind this one.
  const get = 'curl -sS -m 5 http://web/hostname';
  assert.is(await kapsel('run', '--rm', '--network', 'six', image, 'bash', '-c', get), 'web\n');
  far!.start('busybox', 'httpd', '-f', '-p', '[::]:81', '-h', '/etc');
  await sh('web', 'for n in {1..50}; do curl -sS -m 5 http://[fd01::9]:81/hostname 2> /dev/null && exit; done; exit 1');
});

t('its published port answers on every address of the host, of IPv4 too', async () => {
  for (const host of ['[::1]', '[fd01::1]', '127.0.0.1']) {
    const { stdout, stderr } = await run('curl', ['-sS', '-m', '5', `http://${host}:8080/hostname`]);
    assert.is(stdout, 'web\n', `${host}: ${stderr}`);
  }
  assert.is((await far!.run('curl', '-sS', '-m', '5', 'http://[fd01::1]:8080/hostname')).stdout, 'web\n');
  await kapsel('rm', '-f', 'web');
});

t('an address of a family that the network has not is refused', async () => {
  await test.engine.networks.create('four');
  for (const [network, flag, address] of [
    ['six', '--ip', '10.1.0.2'],
    ['four', '--ip6', 'fd00::2'],
  ] as const) {
    const message = `invalid address ${address}: network ${network} has no IPv`;
    const { exitCode, stderr } = await test.kapsel(['run', '--rm', '--network', network, flag, address, image, 'true']);
    assert.is(exitCode, 125);
    assert.match(stderr, message);
    await kapsel('create', '--name', 'other', image, 'true');
    await kapsel('network', 'disconnect', 'none', 'other');
    const joined = await test.kapsel(['network', 'connect', flag, address, network, 'other']);
    assert.match(joined.stderr, message);
    await kapsel('rm', 'other');
  }
});

t.run();
