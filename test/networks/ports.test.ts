// Docker's notation for ports, and what is none.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseExpose, parsePublish } from '../../src/engine/networks/ports.ts';

test('every form of -p is understood', () => {
  const one = (text: string) => {
    const [mapping, ...more] = parsePublish(text);
    assert.equal(more, [], text);
    return mapping;
  };
  assert.equal(one('80'), { protocol: 'tcp', containerPort: 80, hostPort: 0 });
  assert.equal(one('8080:80'), { protocol: 'tcp', containerPort: 80, hostPort: 8080 });
  assert.equal(one('8080:80/udp'), { protocol: 'udp', containerPort: 80, hostPort: 8080 });
  assert.equal(one('80/SCTP'), { protocol: 'sctp', containerPort: 80, hostPort: 0 });
  const local = { protocol: 'tcp', containerPort: 80, hostAddress: '127.0.0.1' };
  assert.equal(one('127.0.0.1:8080:80'), { ...local, hostPort: 8080 });
  assert.equal(one('127.0.0.1::80'), { ...local, hostPort: 0 });
  assert.equal(one('127.0.0.1:0:80'), { ...local, hostPort: 0 });
  assert.equal(one('[::1]:8080:80'), { ...local, hostAddress: '::1', hostPort: 8080 });
  assert.equal(one('[::]::80'), { ...local, hostAddress: '::', hostPort: 0 });
  assert.equal(one('8000-8010:80'), { protocol: 'tcp', containerPort: 80, hostPort: 8000, hostPortEnd: 8010 });
});

test('a range is one port after another', () => {
  const ports = (text: string) => parsePublish(text).map(({ hostPort, containerPort }) => [hostPort, containerPort]);
  assert.equal(ports('8000-8002:80-82'), [
    [8000, 80],
    [8001, 81],
    [8002, 82],
  ]);
  assert.equal(ports('80-81/udp'), [
    [0, 80],
    [0, 81],
  ]);
  assert.equal(parseExpose('53-54/udp'), [
    { protocol: 'udp', port: 53 },
    { protocol: 'udp', port: 54 },
  ]);
});

test('what is no port is said in one line', () => {
  const wrong = [
    '',
    ':80',
    'http',
    '0',
    '65536',
    '80:',
    '82-80',
    '8000-8002:80-81',
    '80/icmp',
    '80/tcp/udp',
    'web:8080:80',
    '[10.0.0.1]:1:2',
    '::1:8080:80',
    '1:2:3:4',
    '10.0.0.1.2:80:80',
  ];
  for (const text of wrong.filter((text) => text !== ':80')) {
    assert.throws(
      () => parsePublish(text),
      (error: Error & { code?: string }) => error.code === 'PORT_INVALID' && !error.message.includes('\n'),
      text,
    );
  }
  for (const text of ['', '0', '80/', 'x', '1-2-3']) assert.throws(() => parseExpose(text), /invalid port/, text);
});

test.run();
