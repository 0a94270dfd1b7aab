// A network's options, in Docker's words, as the kernel shows them. Everything is in a network namespace of this file's own.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('options of networks');
const image = 'host:bash,busybox,curl,ip,sleep';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
});

t.after(() => test.close());

const kapsel = (...args: string[]) => test.output(...args);

function serve(name: string, ...flags: string[]): Promise<string> {
  const server = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
  return kapsel('run', '-d', '--name', name, '-h', name, ...flags, image, ...server);
}

const fetchIn = (name: string, url: string) =>
  kapsel('exec', name, 'bash', '-c', `curl -sS -m 1 http://${url}/hostname 2> /dev/null || echo no`);

async function bridgesCallTheFilter(value: 0 | 1): Promise<void> {
  for (const family of ['iptables', 'ip6tables']) {
    const { exitCode } = await run('sysctl', ['-qw', `net.bridge.bridge-nf-call-${family}=${value}`]);
    assert.is(exitCode, 0);
  }
}

t('those of Docker’s bridges', async () => {
  const options = {
    'com.docker.network.driver.mtu': '1400',
    'com.docker.network.bridge.name': 'kopt0',
    'com.docker.network.bridge.enable_icc': 'false',
    'com.docker.network.bridge.enable_ip_masquerade': 'false',
    'com.docker.network.bridge.host_binding_ipv4': '127.0.0.1',
    'com.docker.network.container_iface_prefix': 'net',
  };
  const flags = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  await kapsel('network', 'create', ...flags, 'odd');
  await serve('one', '--network', 'odd', '-p', '8080:80');
  await serve('two', '--network', 'odd');
  assert.match(await kapsel('exec', 'one', 'ip', 'link', 'show', 'net0'), 'mtu 1400');
  assert.match((await run('ip', ['link', 'show', 'kopt0'])).stdout, 'mtu 1400');
  assert.is(await kapsel('port', 'one'), '80/tcp -> 127.0.0.1:8080\n');
  assert.is((await run('curl', ['-sS', '-m', '3', 'http://127.0.0.1:8080/hostname'])).stdout, 'one\n');
  assert.not.match((await run('nft', ['list', 'set', 'inet', 'kapsel', 'subnet4'])).stdout, 'elements');
  assert.equal(JSON.parse(await kapsel('network', 'inspect', '-f', '{{json .Options}}', 'odd')), options);
  for (const value of [0, 1] as const) {
    await bridgesCallTheFilter(value);
    assert.is(await fetchIn('two', 'one'), 'no\n', `bridge-nf-call-iptables=${value}`);
  }
  await kapsel('rm', '-f', 'one', 'two');
});

t('containers of one network reach each other where bridges call the packet filter', async () => {
  await bridgesCallTheFilter(1);
  await kapsel('network', 'create', 'plain');
  await serve('one', '--network', 'plain', '-p', '8081:80');
  await serve('two', '--network', 'plain');
  assert.is(await fetchIn('two', 'one'), 'one\n');
  // By the host's port, and back to itself.
  for (const name of ['two', 'one']) assert.is(await fetchIn(name, 'host.docker.internal:8081'), 'one\n', name);
  await kapsel('rm', '-f', 'one', 'two');
});

t('what is no option of it, or no value, is one line', async () => {
  const wrong: [option: string, message: RegExp][] = [
    ['com.docker.network.bridge.enable_icc=maybe', /invalid icc 'maybe'/],
    ['com.docker.network.bridge.host_binding_ipv4=here', /invalid host-address 'here'/],
    ['com.docker.network.container_iface_prefix=a/b', /invalid interface name/],
    ['com.docker.network.bridge.unknown=1', /unknown option com\.docker\.network\.bridge\.unknown/],
  ];
  for (const [option, message] of wrong) {
    const { exitCode, stderr } = await test.kapsel(['network', 'create', '-o', option, 'wrong']);
    assert.is(exitCode, 1);
    assert.match(stderr, message);
    assert.is(stderr.trim().split('\n').length, 1);
  }
  const missing = await test.kapsel(['run', '--rm', '--network', 'nowhere', image, 'sleep', '0']);
  assert.is(missing.exitCode, 125);
  assert.match(missing.stderr, /^kapsel: No such network: nowhere\n$/);
});

t.run();
