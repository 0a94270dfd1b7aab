// Networks that are no bridge of this machine: another machine's cable, and a network namespace that somebody else has made.
// Everything is in a network namespace of this file's own.

import { readlinkSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { cable, Machine } from '../harness/machine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('kinds of networks');
const image = 'host:bash,busybox,curl,ip,true';
let test: TestEngine;
let far: Machine | undefined;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  far = await Machine.make();
  cable('lan', { pid: process.pid, addresses: [] }, { pid: far.pid, addresses: ['10.9.0.1/24'] });
});

t.after(async () => {
  far?.stop();
  await test.close();
});

const kapsel = (...args: string[]) => test.output(...args);
const links = async () => (await run('ip', ['-br', 'link'])).stdout;

t('macvlan puts a container on the network of the machine’s own interface', async () => {
  const before = await links();
  await kapsel('network', 'create', '-d', 'macvlan', '-o', 'parent=lana', '--subnet', '10.9.0.0/24', 'lan');
  const server = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
  const flags = ['-h', 'web', '--network', 'lan', '--ip', '10.9.0.7', '--mac-address', '02:00:00:00:09:07'];
  await kapsel('run', '-d', '--name', 'web', ...flags, image, ...server);
  const shown = await kapsel('exec', 'web', 'bash', '-c', 'ip -d addr show eth0; ip route');
  for (const part of ['macvlan mode bridge', '10.9.0.7/24', '02:00:00:00:09:07', 'default via 10.9.0.1 dev eth0']) {
    assert.match(shown, part);
  }
  const get = ['-sS', '-m', '5', 'http://10.9.0.7/hostname'];
  // From the other end of the cable, and from a neighbour by its name.
  const fetched = await far!.run('curl', ...get);
  assert.is(fetched.stdout, 'web\n', fetched.stderr);
  const near = await kapsel('run', '--rm', '--network', 'lan', image, 'curl', '-sS', '-m', '5', 'http://web/hostname');
  assert.is(near, 'web\n');
  await kapsel('rm', '-f', 'web');
  await kapsel('network', 'rm', 'lan');
  assert.is(await links(), before);
});

t(
  'ports lead by a bridge that leads out, whichever other networks there are; without one it is said that there are none',
  async () => {
    await kapsel('network', 'create', '-d', 'macvlan', '-o', 'parent=lana', '--subnet', '10.9.0.0/24', 'lan');
    await kapsel('network', 'create', '--internal', 'inner');
    await kapsel('network', 'create', 'open');
    const server = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
    const start = (...networks: string[]) => {
      const flags = ['-h', 'web', '-p', '127.0.0.1:8080:80', ...networks.flatMap((name) => ['--network', name])];
      return test.kapsel(['run', '-d', '--name', 'web', ...flags, image, ...server]);
    };
    const answer = async () => (await run('curl', ['-sS', '-m', '3', 'http://127.0.0.1:8080/hostname'])).stdout;
    const hidden = /WARNING: no port is published before the container is on a bridge network that leads out: /;
    for (const [networks, which] of [
      [['lan'], 'lan is macvlan'],
      [['inner', 'lan'], 'inner is internal, lan is macvlan'],
    ] as const) {
      const { exitCode, stderr } = await start(...networks);
      assert.is(exitCode, 0, stderr);
      assert.match(stderr, hidden);
      assert.match(stderr, which);
      assert.is(await kapsel('port', 'web'), '');
      assert.is(await answer(), '');
      // It comes to one while it runs, and leaves it.
      await kapsel('network', 'connect', 'open', 'web');
      assert.is(await kapsel('port', 'web'), '80/tcp -> 127.0.0.1:8080\n');
      assert.is(await answer(), 'web\n');
      await kapsel('network', 'disconnect', 'open', 'web');
      assert.is(await answer(), '');
      await kapsel('rm', '-f', 'web');
    }
    const { stderr } = await start('lan', 'inner', 'open');
    assert.is(stderr, '');
    assert.is(await answer(), 'web\n');
    // What others take away comes back to where it was.
    await run('nft', ['delete', 'table', 'inet', 'kapsel']);
    await kapsel('run', '--rm', '--network', 'open', image, 'true');
    assert.is(await answer(), 'web\n');
    await kapsel('rm', '-f', 'web');
    await kapsel('network', 'rm', 'lan', 'inner', 'open');
  },
);

t('macvlan without an interface to be at is refused', async () => {
  const made = await test.kapsel(['network', 'create', '-d', 'macvlan', 'lost']);
  assert.is(made.exitCode, 1);
  assert.match(made.stderr, /^kapsel: a macvlan network needs an interface of this machine: give -o parent=NAME\n$/);
  await kapsel('network', 'create', '-d', 'macvlan', '-o', 'parent=nowhere', 'lost');
  const { exitCode, stderr } = await test.kapsel(['run', '--rm', '--network', 'lost', image, 'true']);
  assert.is(exitCode, 125);
  assert.match(stderr, /there is no network interface nowhere/);
  assert.is(stderr.trim().split('\n').length, 1, stderr);
});

t('a container goes into a network namespace by its path', async () => {
  const path = `/proc/${far!.pid}/ns/net`;
  const script = 'busybox readlink /proc/self/ns/net; ip -br -4 addr';
  const shown = await kapsel('run', '--rm', '--network', `ns:${path}`, image, 'bash', '-c', script);
  assert.is(shown.split('\n')[0], readlinkSync(path));
  assert.match(shown, '10.9.0.1/24');
  for (const [wrong, message] of [
    ['/nowhere', /\/nowhere/],
    ['/proc/self/ns/mnt', /\/proc\/self\/ns\/mnt/],
  ] as const) {
    const { exitCode, stderr } = await test.kapsel(['run', '--rm', '--network', `ns:${wrong}`, image, 'true']);
    assert.is(exitCode, 125, wrong);
    assert.match(stderr, message);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
  }
});

t.run();
