// Containers on networks, for real: interfaces, names, published ports and what may be reached. Everything is in a network
// namespace of this file's own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type CommandResult, run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('containers on networks');
const image = 'host:bash,busybox,cat,curl,getent,grep,ip,sleep,true';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('web');
});

t.after(() => test.close());

/** A web server that says its container's hostname. */
async function serve(name: string, ...flags: string[]): Promise<void> {
  const command = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
  const { exitCode, stderr } = await test.kapsel([
    'run',
    '-d',
    '--name',
    name,
    '-h',
    name,
    ...flags,
    image,
    ...command,
  ]);
  assert.is(exitCode, 0, stderr);
}

const inside = (flags: string[], script: string): Promise<CommandResult> =>
  test.kapsel(['run', '--rm', ...flags, image, 'bash', '-c', script]);
const fetched = (url: string) => run('curl', ['-sS', '-m', '5', url]);
const remove = (...names: string[]) => test.kapsel(['rm', '-f', ...names]);

/** How many ports the packet filter carries. */
async function published(): Promise<number> {
  const { stdout } = await run('nft', ['-j', 'list', 'map', 'inet', 'kapsel', 'any4']);
  const { nftables } = JSON.parse(stdout) as { nftables: { map?: { elem?: unknown[] } }[] };
  return nftables.find(({ map }) => map)?.map?.elem?.length ?? 0;
}
const links = async () => (await run('ip', ['-br', 'link'])).stdout.trim().split('\n').length;

t('one has an address of its network, a route, and its own name', async () => {
  const { stdout } = await inside(
    ['--network', 'web', '-h', 'me'],
    'ip -br addr; ip route; cat /etc/hosts /etc/resolv.conf',
  );
  const [, subnet = ''] =
    /^(10\.\d+\.\d+)\.0\/24$/.exec((await test.engine.networks.inspect('web')).subnets[0]!.subnet) ?? [];
  assert.match(stdout, new RegExp(`eth0@\\S+\\s+[A-Z]+\\s+${subnet}\\.\\d+/24`));
  assert.match(stdout, `default via ${subnet}.1 dev eth0`);
  assert.match(stdout, new RegExp(`^${subnet}\\.\\d+\tme$`, 'm'));
  assert.match(stdout, `${subnet}.1\thost.docker.internal`);
  assert.match(stdout, 'nameserver 127.0.0.11\n');
});

t('others find it by its name, its id and its aliases, while it lives', async () => {
  await serve('named', '--network', 'web', '--network-alias', 'db');
  const { id } = (await test.engine.containers.get('named')) as { id: string };
  const { stdout } = await inside(
    ['--network', 'web'],
    `for n in named db ${id.slice(0, 12)}; do curl -sS -m 5 http://$n/hostname; done; getent hosts absent || echo none`,
  );
  assert.is(stdout, 'named\nnamed\nnamed\nnone\n');
  await remove('named');
  assert.is((await inside(['--network', 'web'], 'getent hosts named || echo none')).stdout, 'none\n');
});

t('a published port answers on every address of the host, and from containers', async () => {
  await serve('front', '--network', 'web', '-p', '8080:80');
  const address = (await test.engine.networks.inspect('web')).subnets[0]!.gateway;
  for (const host of ['127.0.0.1', '[::1]', address]) {
    assert.is((await fetched(`http://${host}:8080/hostname`)).stdout, 'front\n', host);
  }
  const from = await inside(['--network', 'bridge'], `curl -sS -m 5 http://host.docker.internal:8080/hostname`);
  assert.is(from.stdout, 'front\n', from.stderr);
  const { stdout } = await test.kapsel(['ps', '--format', '{{.Ports}} {{.Networks}}']);
  assert.is(stdout, '0.0.0.0:8080->80/tcp, [::]:8080->80/tcp web\n');
  await remove('front');
  assert.is.not((await fetched('http://127.0.0.1:8080/hostname')).exitCode, 0);
});

t('twenty containers have port 80 each', async () => {
  const names = Array.from({ length: 20 }, (_, at) => `many${at}`);
  await Promise.all(names.map((name, at) => serve(name, '--network', 'web', '-p', `127.0.0.1:${9000 + at}:80`)));
  const answers = await Promise.all(names.map((_, at) => fetched(`http://127.0.0.1:${9000 + at}/hostname`)));
  assert.equal(
    answers.map(({ stdout }) => stdout.trim()),
    names,
  );
  const all = names.map((name) => `curl -sS -m 5 http://${name}/hostname`).join(';');
  assert.equal((await inside(['--network', 'web'], all)).stdout.trim().split('\n'), names);
  await remove(...names);
});

t('a port that is taken names its holder, and nothing is left', async () => {
  await serve('holder', '--network', 'web', '-p', '8081:80');
  const before = { links: await links(), published: await published() };
  const second = await test.kapsel(['run', '--rm', '--network', 'web', '-p', '8081:80', image, 'sleep', '1']);
  assert.is(second.exitCode, 125);
  assert.match(second.stderr, 'port 0.0.0.0:8081/tcp is already published by container holder');
  const listener = spawn('busybox', ['nc', '-l', '-p', '8082']);
  await once(listener, 'spawn');
  for (let tries = 0; tries < 100; tries++) {
    if (
      readFileSync('/proc/net/tcp', 'utf8').includes(':1F92 ') ||
      readFileSync('/proc/net/tcp6', 'utf8').includes(':1F92 ')
    )
      break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const third = await test.kapsel(['run', '--rm', '--network', 'web', '-p', '8082:80', image, 'sleep', '1']);
  listener.kill();
  assert.is(third.exitCode, 125);
  assert.match(third.stderr, /port .*8082\/tcp is taken by (busybox|nc)/);
  assert.equal({ links: await links(), published: await published() }, before);
  await remove('holder');
});

t('who was to look after a container that finds no port has gone with the error', async () => {
  await serve('holder', '--network', 'web', '-p', '8081:80');
  const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
  const before = { census: await test.census(), children: children() };
  const options = { command: ['true'], network: 'web', publish: ['8081:80'] };
  for (const rm of [true, false]) {
    const error = await test.engine.containers.run(image, { ...options, rm, name: 'late' }).catch((cause) => cause);
    assert.is(error.code, 'PORT_IN_USE');
    assert.is(children(), before.children);
  }
  const { ExitCode: exitCode, Error: error } = (await (await test.engine.containers.get('late')).inspect()).State;
  assert.equal([exitCode, error.includes('8081/tcp is already published by container holder')], [128, true]);
  await remove('late');
  assert.equal(await test.census(), before.census);
  await remove('holder');
});

t('networks are apart, and an internal one leads nowhere', async () => {
  await test.engine.networks.create('other');
  await test.engine.networks.create('inner', { internal: true });
  await serve('apart', '--network', 'other');
  const [{ addresses: [address = ''] = [] } = {}] = (await test.engine.networks.inspect('other')).containers;
  const target = address.split('/')[0];
  const refused = await inside(['--network', 'web'], `curl -sS -m 2 http://${target}/hostname || echo apart`);
  assert.is(refused.stdout, 'apart\n');
  const both = await inside(
    ['--network', 'web', '--network', 'other'],
    'ip -br addr | grep -c eth; curl -sS http://apart/hostname',
  );
  assert.is(both.stdout, '2\napart\n', both.stderr);
  const inner = await inside(['--network', 'inner'], 'ip route | grep -c default || true');
  assert.is(inner.stdout, '0\n');
  await remove('apart');
});

t('what a container may reach is decided outside of it', async () => {
  await serve('wanted', '--network', 'web');
  const tried = async (egress: string) =>
    (
      await inside(
        ['--network', 'web', '--egress', egress],
        'curl -sS -m 3 http://wanted/hostname 2> /dev/null || echo no',
      )
    ).stdout;
  const { subnet } = (await test.engine.networks.inspect('web')).subnets[0]!;
  assert.is(await tried('deny'), 'no\n');
  assert.is(await tried(`allow=${subnet}`), 'wanted\n');
  assert.is(await tried('allow=192.0.2.0/24'), 'no\n');
  // A question for another name is a way out: it is not even asked.
  const asked = await inside(
    ['--network', 'web', '--dns', '192.0.2.1', '--egress', `allow=${subnet}`],
    'busybox nslookup secret.example.com 2>&1 | grep -o REFUSED',
  );
  assert.match(asked.stdout, 'REFUSED', asked.stderr);
  const wrong = await test.kapsel(['run', '--rm', '--network', 'none', '--egress', 'deny', image, 'true']);
  assert.is(wrong.exitCode, 125);
  assert.match(wrong.stderr, 'conflicting options: --egress and the network mode none');
  await remove('wanted');
});

t('addresses are as asked for, and nobody has one twice', async () => {
  await test.engine.networks.create('fixed', { subnets: [{ subnet: '10.8.0.0/24' }, { subnet: 'fd00:8::/64' }] });
  const flags = [
    '--network',
    'fixed',
    '--ip',
    '10.8.0.77',
    '--ip6',
    'fd00:8::77',
    '--mac-address',
    '02:00:00:00:00:77',
  ];
  await serve('fixed', ...flags, '-p', '8083:80');
  const { stdout } = await test.kapsel(['exec', 'fixed', 'ip', 'addr', 'show', 'eth0']);
  for (const part of ['10.8.0.77/24', 'fd00:8::77/64', '02:00:00:00:00:77']) assert.match(stdout, part);
  for (const host of ['127.0.0.1', '[::1]', '[fd00:8::1]']) {
    assert.is((await fetched(`http://${host}:8083/hostname`)).stdout, 'fixed\n', host);
  }
  const twice = await test.kapsel(['run', '--rm', '--network', 'fixed', '--ip', '10.8.0.77', image, 'true']);
  assert.is(twice.exitCode, 125);
  assert.match(twice.stderr, 'the address is in use by container fixed');
  const outside = await test.kapsel(['run', '--rm', '--network', 'fixed', '--ip', '10.9.0.1', image, 'true']);
  assert.is(outside.exitCode, 125);
  assert.match(outside.stderr, 'it does not belong to network fixed');
  await remove('fixed');
});

t('addresses that nobody asks for are of the range, and of nobody else', async () => {
  const range = ['--subnet', '10.10.0.0/24', '--ip-range', '10.10.0.8/30', '--aux-address', 'router=10.10.0.9'];
  assert.is((await test.kapsel(['network', 'create', ...range, 'ranged'])).exitCode, 0);
  const names = ['range0', 'range1', 'range2'];
  await Promise.all(names.map((name) => serve(name, '--network', 'ranged')));
  const { containers } = await test.engine.networks.inspect('ranged');
  const addresses = containers.flatMap((each) => each.addresses).toSorted();
  assert.equal(addresses, ['10.10.0.10/24', '10.10.0.11/24', '10.10.0.8/24']);
  const full = await test.kapsel(['run', '--rm', '--network', 'ranged', image, 'true']);
  assert.is(full.exitCode, 125);
  assert.match(full.stderr, 'no address of network ranged is free');
  // Outside of the range, and where the router is, by its address alone.
  const asked = await inside(['--network', 'ranged', '--ip', '10.10.0.77'], 'ip -br -4 addr show eth0');
  assert.match(asked.stdout, '10.10.0.77/24');
  await remove(...names);
});

t('one shares the network of another', async () => {
  await serve('shared', '--network', 'web');
  const { stdout } = await inside(['--network', 'container:shared'], 'curl -sS http://127.0.0.1/hostname');
  assert.is(stdout, 'shared\n');
  await remove('shared');
  const gone = await test.kapsel(['run', '--rm', '--network', 'container:shared', image, 'true']);
  assert.is(gone.exitCode, 125);
  assert.match(gone.stderr, 'No such container: shared');
});

t('what a killed monitor has left goes with the next command', async () => {
  await serve('killed', '--network', 'web', '-p', '8084:80');
  assert.is(await published(), 1);
  const { State } = await (await test.engine.containers.get('killed')).inspect();
  const [, monitor] = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${State.Pid}/status`, 'utf8')) ?? [];
  process.kill(Number(monitor), 'SIGKILL');
  while ((await test.kapsel(['ps', '-q', '-f', 'name=killed'])).stdout !== '')
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(await published(), 0);
  const { id } = await test.engine.networks.inspect('web');
  assert.equal(readdirSync(`${test.runRoot}/networks/${id}/names`), []);
  await serve('again', '--network', 'web', '-p', '8084:80');
  assert.is((await fetched('http://127.0.0.1:8084/hostname')).stdout, 'again\n');
  await remove('killed', 'again');
});

t('a network takes its bridge with it', async () => {
  await test.engine.networks.create('gone', { interface: 'kgone' });
  await inside(['--network', 'gone'], 'true');
  assert.match((await run('ip', ['-br', 'link'])).stdout, 'kgone');
  const inUse = await serve('user', '--network', 'gone').then(() => test.kapsel(['network', 'rm', 'gone']));
  assert.is(inUse.exitCode, 1);
  assert.match(inUse.stderr, 'network gone is in use by user');
  await remove('user');
  assert.is((await test.kapsel(['network', 'rm', 'gone'])).exitCode, 0);
  assert.not.match((await run('ip', ['-br', 'link'])).stdout, 'kgone');
  assert.not.match((await run('nft', ['list', 'table', 'inet', 'kapsel'])).stdout, 'kgone');
});

t.run();
