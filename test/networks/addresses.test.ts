// Addresses and subnets as numbers, against what is known of them.

import { isIP } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  addressOf,
  contains,
  formatAddress,
  formatSubnet,
  numberOf,
  overlap,
  parseAddress,
  parseSubnet,
  sizeOf,
  type Subnet,
} from '../../src/engine/networks/addresses.ts';

const subnet = (text: string) => parseSubnet(text) as Subnet;

test('an address comes back in its canonical form', () => {
  const forms = {
    '10.0.0.1': '10.0.0.1',
    '255.255.255.255': '255.255.255.255',
    '::': '::',
    '::1': '::1',
    '1::': '1::',
    '2001:DB8:0:0:1:0:0:1': '2001:db8::1:0:0:1',
    '2001:db8:0:1:1:1:1:1': '2001:db8:0:1:1:1:1:1',
    '::ffff:10.1.2.3': '::ffff:a01:203',
    'fe80:0:0:0:0:0:0:1': 'fe80::1',
  };
  for (const [text, canonical] of Object.entries(forms)) {
    const parsed = parseAddress(text);
    assert.ok(parsed, text);
    assert.is(formatAddress(parsed), canonical);
    // The runtime's own parser agrees.
    if (parsed.family === 6) assert.is(new URL(`http://[${text}]`).hostname, `[${canonical}]`);
  }
  for (const text of ['', '10.0.0', '10.0.0.256', 'fe80::1%eth0', '1::2::3', 'web', '01.2.3.4']) {
    assert.is(parseAddress(text), undefined, text);
  }
});

test('a subnet begins where its prefix ends, and knows what is in it', () => {
  assert.is(formatSubnet(subnet('10.89.3.7/24')), '10.89.3.0/24');
  assert.is(formatSubnet(subnet('fd00::1:2/112')), 'fd00::1:0/112');
  assert.is(sizeOf(subnet('10.0.0.0/30')), 4n);
  assert.is(sizeOf(subnet('::/0')), 1n << 128n);
  const web = subnet('10.89.3.0/24');
  const address = addressOf(web, 7);
  assert.is(formatAddress(address), '10.89.3.7');
  assert.is(numberOf(web, address), 7n);
  assert.ok(contains(web, address));
  assert.not(contains(web, { family: 4, value: web.value + 256n }));
  assert.not(contains(subnet('::/0'), address));
  for (const text of ['10.0.0.0/33', '10.0.0.0', '10.0.0.0/', '::/129', 'x/8']) {
    assert.is(parseSubnet(text), undefined, text);
  }
});

test('two subnets overlap where one is in the other', () => {
  assert.ok(overlap(subnet('10.0.0.0/8'), subnet('10.1.0.0/16')));
  assert.ok(overlap(subnet('10.1.0.0/16'), subnet('10.0.0.0/8')));
  assert.not(overlap(subnet('10.0.0.0/16'), subnet('10.1.0.0/16')));
  assert.not(overlap(subnet('0.0.0.0/0'), subnet('::/0')));
});

test('what is an address is what Node takes for one', () => {
  const parts = ['', '0', '1', 'ffff', '10000', 'g', '255', '256', '1.2.3.4', '1.2.3', ':', '::', '.', '%eth0'];
  let seed = 20261128;
  const pick = () => parts[(seed = (seed * 1103515245 + 12345) % 2147483648) % parts.length] as string;
  for (let round = 0; round < 20_000; round++) {
    const text = Array.from({ length: 1 + (seed % 10) }, pick).join(seed % 3 === 0 ? '.' : ':');
    if (text.includes('%')) continue;
    assert.is(parseAddress(text)?.family ?? 0, isIP(text), JSON.stringify(text));
  }
});

test.run();
