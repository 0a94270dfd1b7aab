// What a container finds in /etc/hosts and /etc/resolv.conf, and by what name others find it. Everything is in a network
// namespace of this file's own.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('hosts and resolvers');
const image = 'host:bash,cat,getent,sleep';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('web', { subnets: [{ subnet: '10.7.0.0/24' }] });
});

t.after(() => test.close());

const inside = (flags: string[], script: string): Promise<string> =>
  test.output('run', '--rm', '--network', 'web', ...flags, image, 'bash', '-c', script);

t('hosts that were named are there, and so is the machine', async () => {
  const named = ['db:192.0.2.7', 'six:[2001:db8::7]', 'equal=192.0.2.8', 'gate:host-gateway'];
  const flags = [
    '--name',
    'own',
    '-h',
    'me',
    '--domainname',
    'example.com',
    ...named.flatMap((host) => ['--add-host', host]),
  ];
  const script = `cat /etc/hosts; for n in host.docker.internal host.containers.internal gate; do getent hosts $n; done`;
  const stdout = await inside(flags, script);
  for (const line of [
    /^127\.0\.0\.1\s+localhost\b/m,
    /^10\.7\.0\.\d+\tme\.example\.com me$/m,
    /^192\.0\.2\.7\tdb$/m,
    /^2001:db8::7\tsix$/m,
    /^192\.0\.2\.8\tequal$/m,
    /^10\.7\.0\.1\tgate$/m,
    /^10\.7\.0\.1\thost\.docker\.internal host\.containers\.internal$/m,
  ]) {
    assert.match(stdout, line);
  }
  assert.is((stdout.match(/^10\.7\.0\.1 .*(internal|gate)$/gm) ?? []).length, 3, stdout);
});

t('who cannot reach the machine is told so', async () => {
  const flags = ['--network', 'none', '--add-host', 'gate:host-gateway'];
  const { exitCode, stderr } = await test.kapsel(['run', '--rm', ...flags, image, 'sleep', '0']);
  assert.is(exitCode, 125);
  assert.match(stderr, /^kapsel: --add-host gate:host-gateway: this container cannot reach the host\n$/);
});

t('search domains and options are as asked for, and a name without a dot is looked for as it is', async () => {
  const flags = ['--dns-search', 'one.example', '--dns-search', 'two.example', '--dns-option', 'timeout:1'];
  const stdout = await inside(flags, 'cat /etc/resolv.conf');
  assert.is(stdout, 'nameserver 127.0.0.11\nsearch one.example two.example\noptions timeout:1 ndots:0\n');
  // Resolvers go by the last: ours would hide the one that was asked for.
  const dots = await inside(['--dns-search', '.', '--dns-option', 'ndots:2'], 'cat /etc/resolv.conf');
  assert.is(dots, 'nameserver 127.0.0.11\noptions ndots:2\n');
});

t('others find it by the name that it has for itself, too', async () => {
  await test.output('run', '-d', '--name', 'named', '-h', 'other', '--network', 'web', image, 'sleep', '600');
  const stdout = await inside([], 'for n in named other; do getent hosts $n; done');
  assert.match(stdout, /^(10\.7\.0\.\d+) +named\n\1 +other\n$/);
  await test.output('rm', '-f', 'named');
});

t.run();
