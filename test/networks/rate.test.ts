// Rates: what a container may send and receive in a second, kept by the kernel at both ends of its cable.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseRate } from '../../src/engine/networks/rate.ts';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('rates');
const image = 'host:sleep';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
});

t.after(() => test.close());

t('a rate is written as for tc', () => {
  const known = { '10mbit': 1_250_000, '8000': 1000, '1Gbit': 125_000_000, '1.5mbps': 1_500_000, '1mibit': 131_072 };
  for (const [text, bytes] of Object.entries(known)) assert.is(parseRate(text), bytes, text);
  for (const text of ['', '0', '10', 'mbit', '10mb', '-1mbit', '1e9', '10 mbit', '99999999tbit'])
    assert.is(parseRate(text), undefined, text);
});

/** What tc says of the rates of both ends of the only cable. */
async function rates(name: string, device = 'eth0'): Promise<string[]> {
  const { State } = await (await test.engine.containers.get(name)).inspect();
  const inside = await run('nsenter', ['--net', '--target', String(State.Pid), 'tc', 'qdisc', 'show', 'dev', device]);
  const outside = await run('tc', ['qdisc', 'show']);
  return [inside, outside].map(({ stdout }) => /tbf .*rate (\S+)/.exec(stdout)?.[1] ?? 'none');
}

t('a container keeps its own rate, or that of its network', async () => {
  const created = await test.kapsel(['network', 'create', '-o', 'rate=20mbit', 'slow']);
  assert.is(created.exitCode, 0, created.stderr);
  await test.engine.networks.create('fast');
  for (const [flags, rate] of [
    [['--network', 'slow'], '20Mbit'],
    [['--network', 'name=slow,rate=10mbit'], '10Mbit'],
    [['--network', 'fast', '--network-opt', 'rate=1gbit'], '1Gbit'],
    [['--network', 'fast'], 'none'],
  ] as const) {
    const { exitCode, stderr } = await test.kapsel(['run', '-d', '--name', 'one', ...flags, image, 'sleep', '600']);
    assert.is(exitCode, 0, stderr);
    assert.equal(await rates('one'), [rate, rate], flags.join(' '));
    await test.kapsel(['rm', '-f', 'one']);
    // The kernel takes the host's end away in its own time.
    for (let tries = 0; (await run('tc', ['qdisc', 'show'])).stdout.includes('tbf') && tries < 500; tries++);
  }
});

t('a container that comes to a network while it runs keeps the rate that it is given there', async () => {
  await test.output('run', '-d', '--name', 'one', '--network', 'fast', image, 'sleep', '600');
  await test.output('network', 'connect', '--network-opt', 'rate=5mbit', 'slow', 'one');
  assert.equal(await rates('one', 'eth1'), ['5Mbit', '5Mbit']);
  assert.is((await rates('one'))[0], 'none');
  const wrong = ['network', 'connect', '--network-opt', 'speed=5mbit', 'slow', 'one'];
  const { exitCode, stderr } = await test.kapsel(wrong);
  assert.is(exitCode, 1);
  assert.match(stderr, '--network-opt speed: no such option');
  await test.output('rm', '-f', 'one');
});

t('a rate that is none, or that nobody would keep, is refused', async () => {
  for (const [flags, complaint] of [
    [['--network', 'fast', '--network-opt', 'rate=fast'], 'invalid rate fast: give 10mbit'],
    [['--network', 'fast', '--network-opt', 'speed=1mbit'], '--network-opt speed: no such option'],
    [['--network', 'none', '--network-opt', 'rate=1mbit'], 'conflicting options: a rate and the network mode none'],
  ] as const) {
    const { exitCode, stderr } = await test.kapsel(['run', '--rm', ...flags, image, 'sleep', '0']);
    assert.is(exitCode, 125);
    assert.match(stderr, complaint);
  }
  const created = await test.kapsel(['network', 'create', '-d', 'macvlan', '-o', 'rate=1mbit', 'other']);
  assert.is(created.exitCode, 1);
  assert.match(created.stderr, 'unknown option rate of a macvlan network');
});

t.run();
