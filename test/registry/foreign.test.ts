// Layers that lie elsewhere: fetched from the internet over https, and from nowhere else.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isPublic } from '../../src/registry/foreign.ts';
import { authority, certify } from '../harness/certificates.ts';
import { run } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';

const t = suite('foreign layers');
let directory: string;
let results: Record<string, { said: string; asked: string[] }>;

t.before(async () => {
  directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'foreign-'));
  const layers = await busyboxLayers(directory);
  const layout = await ociLayout(join(directory, 'layout'), [{ layers, config: busyboxFacts.config }]);
  const ca = await authority(directory);
  const server = await certify(directory, 'server', ca, '8.8.4.4');
  const script = new URL('foreign-scene.ts', import.meta.url).pathname;
  const network = 'ip link set lo up && ip address add 8.8.4.4/32 dev lo && exec "$@"';
  const scene = [process.execPath, script, layout, server.certificate, server.key];
  const env = { NODE_EXTRA_CA_CERTS: ca.certificate };
  const { stdout, stderr } = await run('unshare', ['--net', 'sh', '-ec', network, 'sh', ...scene], { env });
  assert.ok(stdout, stderr);
  ({ results } = JSON.parse(stdout) as { results: typeof results });
});
t.after(() => rm(directory, { recursive: true, force: true }));

const whole = `${busyboxFacts.layers} layers`;

t('a layer of the internet', () => assert.equal(results.outside, { said: whole, asked: ['/layer'] }));
t('the second address where the first has it not', () =>
  assert.equal(results.second, { said: whole, asked: ['/gone', '/layer'] }),
);
t('a redirect on the internet', () => {
  assert.is(results.redirected!.said, whole);
  assert.is(results.redirected!.asked.length, 2);
});
for (const name of ['plain', 'user', 'loopback', 'mapped', 'redirected inside', 'redirected to plain']) {
  t(`${name}: not gone to`, () => {
    assert.match(results[name]!.said, /as the place of a layer, where kapsel does not go/);
    assert.is(results[name]!.asked.length, name.startsWith('redirected') ? 1 : 0);
  });
}
t('a name that means this machine', () => {
  assert.match(results.name!.said, /localhost is (127\.0\.0\.1|::1), which is no address of the internet/);
  assert.equal(results.name!.asked, []);
});
t('redirects without end', () => {
  assert.match(results['for ever']!.said, /redirects for ever/);
  assert.ok(results['for ever']!.asked.length <= 6);
});
t('a layer that is not foreign has no business elsewhere', () => {
  assert.match(results['not foreign']!.said, /has the manifest but not the blob/);
  assert.equal(results['not foreign']!.asked, []);
});

const outer = '8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 192.169.0.1 2606:4700::1 [2606:4700::1]';
for (const address of outer.split(' ')) t(`${address} is of the internet`, () => assert.ok(isPublic(address)));
const inner = `127.0.0.1 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 0.0.0.0 100.64.0.1 224.0.0.1
  255.255.255.255 ::1 :: fe80::1 fd00::1 ::ffff:8.8.8.8 ::ffff:7f00:1 ff02::1 64:ff9b::7f00:1 2002:7f00:1:: 2001:0:7f00:1::
  localhost`;
for (const address of inner.split(/\s+/)) {
  t(`${address} is not`, () => assert.not(isPublic(address)));
}

t.run();
