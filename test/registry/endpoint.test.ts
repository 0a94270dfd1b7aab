// Where plain http is allowed, and where a registry may send us.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checked, endpoints, isLoopback, mayLeadTo } from '../../src/registry/endpoint.ts';

const t = suite('endpoints');

t('Docker Hub has another name', () => {
  assert.equal(endpoints('docker.io', undefined), [{ root: 'https://registry-1.docker.io/v2', tls: checked }]);
});

for (const host of ['127.0.0.1', '127.9.8.7:5000', 'localhost', 'LOCALHOST:1', '[::1]:5000']) {
  t(`${host} is this machine: plain http first`, () => {
    assert.ok(isLoopback(host));
    assert.is(endpoints(host, undefined)[0]?.root, `http://${host}/v2`);
  });
}

for (const host of ['127.0.0.1.example:80', 'localhost.example', '128.0.0.1', '[::2]:5000', 'r.example', '10.0.0.1']) {
  t(`${host} is not: https with a certificate, nothing else`, () => {
    assert.not(isLoopback(host));
    assert.equal(endpoints(host, undefined), [{ root: `https://${host}/v2`, tls: checked }]);
  });
}

t('https was asked for: nothing else, not even on this machine', () => {
  assert.equal(endpoints('localhost:5000', true), [{ root: 'https://localhost:5000/v2', tls: checked }]);
});

t('an insecure registry is still tried with https first', () => {
  assert.equal(
    endpoints('10.0.0.1:5000', false).map(({ root, tls }) => [root, tls.verify]),
    [
      ['https://10.0.0.1:5000/v2', false],
      ['http://10.0.0.1:5000/v2', true],
    ],
  );
});

const leads: [from: string, to: string, allowed: boolean][] = [
  ['https://r.example', 'https://cdn.example/blob', true],
  ['https://r.example', 'http://cdn.example/blob', false],
  ['https://r.example', 'http://r.example/blob', false],
  ['https://r.example', 'https://127.0.0.1/', false],
  ['https://r.example', 'https://localhost/', false],
  ['https://r.example', 'https://169.254.169.254/latest/meta-data', false],
  ['https://r.example', 'https://[fe80::1]/', false],
  ['https://r.example', 'https://[::ffff:127.0.0.1]/', false],
  ['https://r.example', 'https://2130706433/', false],
  ['https://r.example', 'file:///etc/shadow', false],
  ['http://127.0.0.1:5000', 'http://127.0.0.1:6000/token', true],
  ['http://127.0.0.1:5000', 'https://cdn.example/blob', true],
  ['http://127.0.0.1:5000', 'http://cdn.example/blob', false],
];
for (const [from, to, allowed] of leads) {
  t(`${from} may ${allowed ? '' : 'not '}lead to ${to}`, () => {
    assert.is(mayLeadTo(new URL(from), new URL(to)), allowed);
  });
}

t.run();
