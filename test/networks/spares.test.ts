// Monitors that wait for containers: who gets one, what a container finds there, and that nothing is left of them. Everything
// is in a network namespace of this file's own.
// deadline: 90

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Container, type CreateOptions, Engine } from '../../src/index.ts';
import { rejects } from '../containers/rejects.ts';
import { type Census, run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('spares');
const image = 'host:bash,busybox,cat,ip,readlink,sleep,true';
let test: TestEngine;
let engine: Engine;
let before: Census;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('one', { ipv6: true });
  await test.engine.networks.create('two', { options: { 'com.docker.network.bridge.enable_icc': 'false' } });
  // Bridges and the table stay.
  for (const network of ['one', 'two']) await test.engine.containers.run(image, { command: ['true'], network });
  before = await test.census();
});

t.after(() => test.close());

/** A test with an engine of its own that has spares, of which nothing is left. */
function it(name: string, work: () => Promise<void>): void {
  t(name, async () => {
    engine = new Engine({ ...test.options, spares: 2 });
    try {
      await work();
    } finally {
      for (const { id } of await test.engine.containers.list({ all: true })) {
        await (await test.engine.containers.get(id)).remove({ force: true });
      }
      await engine.close();
    }
    assert.equal(waiting(), []);
    assert.equal(await settled(), { ...before, cables: 0 });
  });
}

/** Of what a container leaves, cables go in the kernel's own time. */
async function settled(): Promise<object> {
  const look = async () => {
    const { stdout } = await run('ip', ['-br', 'link', 'show', 'type', 'veth']);
    return { ...(await test.census()), cables: stdout.split('\n').filter(Boolean).length };
  };
  let found = await look();
  for (let tries = 0; found.cables > 0 && tries < 100; tries++) {
    await setTimeout(20);
    found = await look();
  }
  return found;
}

/** Spares that some process has, by their ids: this one's, unless told. */
function waiting(of = process.pid): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const isOurs = parent(pid) === of;
        return isOurs && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0spare\0') && !isInUse(pid);
      } catch {
        return false;
      }
    });
}

function parent(pid: number): number {
  return Number(/\) \w (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]);
}

/** A monitor that has a container. */
function isInUse(pid: number): boolean {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8') !== '';
}

async function filled(count = 2): Promise<number[]> {
  for (let tries = 0; waiting().length !== count && tries < 250; tries++) await setTimeout(20);
  assert.is(waiting().length, count);
  // They have what a container will need.
  await setTimeout(50);
  return waiting();
}

/** Starts a container that stays, and says whether a spare has it. */
async function start(options: CreateOptions): Promise<{ container: Container; isSpare: boolean }> {
  const spares = waiting();
  const container = await engine.containers.start(image, { command: ['sleep', '600'], ...options });
  const { State } = await container.inspect();
  return { container, isSpare: spares.includes(parent(State.Pid)) };
}

async function has(options: CreateOptions): Promise<boolean> {
  const { container, isSpare } = await start(options);
  await container.remove({ force: true });
  return isSpare;
}

/** What there is to see of a network from inside. */
async function view(options: CreateOptions): Promise<string> {
  const script = `ip -br -4 address; ip -br -6 address; ip route; ip -6 route; cat /etc/hosts /etc/resolv.conf /etc/hostname;
    ip -br link | cat; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv6/conf/*/accept_ra`;
  const { stdout, stderr } = await engine.containers.run(image, {
    command: ['bash', '-c', script],
    hostname: 'box',
    ...options,
  });
  assert.is(stderr, '');
  return stdout.replace(/@if\d+/g, '@if');
}

it('a start takes one, and another takes its place; those that wait are as many as were asked for', async () => {
  assert.is(await has({ network: 'one' }), false, 'there is none before the first container');
  const first = await filled();
  assert.is(await has({ network: 'one' }), true);
  const then = await filled();
  assert.is(first.filter((pid) => then.includes(pid)).length, 1);
  const { stdout } = await engine.containers.run(image, { command: ['cat'], input: 'in', network: 'one' });
  assert.is(stdout, 'in');
  await filled();
  // At once more than there are.
  const many = await Promise.all(Array.from({ length: 5 }, () => start({ network: 'one' })));
  assert.is(many.filter(({ isSpare }) => isSpare).length, 2);
  for (const { container } of many) await container.remove({ force: true });
});

it('a container finds what it finds without', async () => {
  for (const options of [
    { network: 'one' },
    { network: 'none' },
    { network: { network: 'one', interface: 'wan', macAddress: '02:00:00:00:00:09' } },
    { network: ['one', 'two'], publish: ['8080:80'] },
    { network: 'one', userns: '100000:65536' },
    { network: 'none', userns: '100000:65536' },
  ] as CreateOptions[]) {
    // The same address for both.
    const networks = [options.network].flat().map((each) => (typeof each === 'object' ? each : { network: each! }));
    const addresses = {
      one: { ip: await address('one', 77), ip6: await address('one', 77, 1) },
      two: { ip: await address('two', 77) },
      none: {},
    };
    const network = networks.map((each) => ({ ...each, ...addresses[each.network as keyof typeof addresses] }));
    const asked = { ...options, network };
    const plain = await view(asked);
    await has(options);
    await filled();
    const [spares, seen] = [waiting(), await view(asked)];
    assert.is(seen, plain, JSON.stringify(options));
    await filled();
    assert.not.equal(waiting(), spares, 'it was a spare’s');
    await engine.close();
    engine = new Engine({ ...test.options, spares: 2 });
  }
});

/** An address of a network, by its number. */
async function address(network: string, number: number, family = 0): Promise<string> {
  const { subnets } = await test.engine.networks.inspect(network);
  const { gateway } = subnets[family]!;
  return gateway.replace(/1$/, family === 0 ? String(number) : number.toString(16));
}

it('neighbours, names and ports are reached; those who may not see each other do not', async () => {
  await has({ network: 'one' });
  await filled();
  const server = await start({
    name: 'server',
    network: 'one',
    publish: ['8080:80'],
    command: ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'],
  });
  assert.ok(server.isSpare);
  await filled();
  const ask = async (target: string, network: string) => {
    const command = ['bash', '-c', `exec 3<>/dev/tcp/${target}/80`];
    return (await engine.containers.run(image, { command, network })).exitCode === 0;
  };
  assert.ok(await ask('server', 'one'));
  assert.is((await run('curl', ['-sSfm', '3', 'http://127.0.0.1:8080/hostname'])).exitCode, 0);
  await server.container.remove({ force: true });
  await has({ network: 'two' });
  await filled();
  const alone = { network: 'two', command: ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'] };
  const [one, other] = [await start({ ...alone, name: 'one' }), await start({ ...alone, name: 'other' })];
  assert.is(await ask('other', 'two'), false);
  for (const { container } of [one, other]) await container.remove({ force: true });
});

it('who is on another network gets none of theirs, and soon one of its own', async () => {
  await has({ network: 'one' });
  await filled();
  for (const network of ['two', 'none']) {
    assert.is(await has({ network }), false, network);
    await setTimeout(50);
    await filled();
    assert.is(await has({ network }), true, network);
    await filled();
  }
  const other = await start({ network: 'one', name: 'other' });
  assert.is(await has({ network: 'container:other' }), false);
  await other.container.remove({ force: true });
  await filled();
  assert.is(await has({ network: 'host' }), true, 'it needs no network namespace');
});

it('a network that has gone and come again is another', async () => {
  await engine.networks.create('short');
  await has({ network: 'short' });
  await filled();
  await engine.networks.remove('short');
  await engine.networks.create('short');
  assert.is(await has({ network: 'short' }), false);
  await filled();
  assert.is(await has({ network: 'short' }), true);
  await engine.networks.remove('short');
  await rejects(engine.containers.run(image, { network: 'short' }), { code: 'NETWORK_NOT_FOUND' });
});

it('a bridge or a cable that somebody takes away is not missed', async () => {
  const { interface: bridge } = await test.engine.networks.inspect('one');
  for (const harm of [
    `ip link del ${bridge}`,
    'for i in $(ls /sys/class/net); do case $i in kv*) ip link del $i; esac; done',
  ]) {
    await has({ network: 'one' });
    await filled();
    await run('unshare', ['--mount', 'bash', '-c', `mount -t sysfs sysfs /sys; ${harm}`]);
    const { container, isSpare } = await start({ network: 'one' });
    assert.ok(isSpare);
    const gateway = await address('one', 1);
    const { exitCode } = await container.exec({ command: ['busybox', 'ping', '-c1', '-W2', gateway] });
    assert.is(exitCode, 0, harm);
    await container.remove({ force: true });
  }
});

it('one that was killed is passed over', async () => {
  await has({ network: 'one' });
  for (const pid of await filled()) process.kill(pid, 'SIGKILL');
  await setTimeout(50);
  assert.is(await has({ network: 'one' }), false);
  await filled();
  assert.is(await has({ network: 'one' }), true);
});

it('a start that is refused leaves nothing of its spare', async () => {
  await engine.networks.create('full', { subnets: [{ subnet: '10.77.0.0/30' }] });
  const only = await start({ network: 'full', name: 'taken' });
  await filled();
  const refused = async (options: CreateOptions, code: string) => {
    const spares = waiting();
    await rejects(engine.containers.start(image, { command: ['sleep', '600'], ...options }), { code });
    await setTimeout(50);
    assert.ok(waiting().length < spares.length, code);
  };
  // Before the monitor is told anything, after its Launch, and by the kernel.
  await refused({ network: 'full', name: 'taken' }, 'NAME_IN_USE');
  await refused({ network: 'full', rm: true }, 'NETWORK_FULL');
  await only.container.remove({ force: true });
  await has({ network: 'full' });
  await filled();
  await refused({ network: 'full', command: ['/nowhere'], rm: true }, 'PROGRAM_NOT_FOUND');
  await engine.networks.remove('full');
});

it('they go with whoever has them, however that ends', async () => {
  for (const signal of ['SIGKILL', 'SIGTERM', undefined] as const) {
    const code = `
      import { Engine } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)};
      const engine = new Engine(${JSON.stringify({ ...test.options, spares: 2 })});
      await engine.containers.run(${JSON.stringify(image)}, { command: ['true'], network: 'one' });
      setTimeout(() => console.log('ready'), 300);
      ${signal ? 'setInterval(() => {}, 1000)' : ''}`;
    const owner = spawn(process.execPath, ['--input-type=module-typescript', '-e', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(owner.stdout, 'data');
    const spares = waiting(owner.pid);
    if (signal) {
      assert.is(spares.length, 2);
      owner.kill(signal);
    }
    await once(owner, 'exit');
    for (let tries = 0; spares.some(isThere) && tries < 100; tries++) await setTimeout(10);
    assert.not.ok(spares.some(isThere));
    assert.equal(await settled(), { ...before, cables: 0 }, signal);
  }
});

function isThere(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0spare\0');
  } catch {
    return false;
  }
}

t('a number of spares that makes no sense is refused', () => {
  for (const spares of [-1, 1.5, 101, Number.NaN]) {
    assert.throws(() => new Engine({ ...test.options, spares }), /invalid spares .*: give a number from 0 to 100/);
  }
});

t.run();
