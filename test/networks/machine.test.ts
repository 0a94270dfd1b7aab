// The default network, and what other programs of the machine do to containers' networks. Everything is in a network
// namespace of this file's own.

import { once } from 'node:events';
import { createServer } from 'node:net';

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { errorFrom, type NetworkHealth } from '../../src/index.ts';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('the machine');
const image = 'host:bash,busybox,cat,ip,sleep,true';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
});

t.after(() => test.close());

const kapsel = (...args: string[]) => test.output(...args);

async function shell(script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await run('bash', ['-ec', script]);
  assert.is(exitCode, 0, stderr);
  return stdout;
}

function serve(name: string, ...flags: string[]): Promise<string> {
  const server = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
  return kapsel('run', '-d', '--name', name, '-h', name, '--network', 'bridge', ...flags, image, ...server);
}

/** Through the packet filter alone: not by what the monitor holds. */
async function answers(port: number): Promise<boolean> {
  const { gateway } = (await test.engine.networks.inspect('bridge')).subnets[0]!;
  const { stdout } = await run('nft', ['get', 'element', 'inet', 'kapsel', 'any4', `{ tcp . ${port} }`]);
  const { exitCode } = await run('curl', ['-sS', '-m', '3', '-o', '/dev/null', `http://${gateway}:${port}/hostname`]);
  return stdout !== '' && exitCode === 0;
}

async function diagnosed(): Promise<string[]> {
  const { exitCode, stdout, stderr } = await test.kapsel(['network', 'doctor', '--format', 'json']);
  const { problems } = JSON.parse(stdout || stderr) as NetworkHealth;
  assert.is(exitCode, problems.some(({ severity }) => severity === 'error') ? 1 : 0);
  for (const { message, remedy } of problems) assert.ok(message !== '' && remedy !== '');
  return problems.map(({ code }) => code);
}

t('a container without a word about networks is on the bridge, as root; another is where the engine says', async () => {
  const addresses = async (env: Record<string, string>, ...flags: string[]) => {
    const args = [...flags, 'run', '--rm', image, 'bash', '-c', 'ip -br -4 addr; ip route'];
    const { stdout, stderr, exitCode } = await test.kapsel(args, { env: { KAPSEL_DEFAULT_NETWORK: '', ...env } });
    assert.is(exitCode, 0, stderr);
    return stdout;
  };
  const { gateway } = (await test.engine.networks.inspect('bridge')).subnets[0]!;
  assert.match(await addresses({}), `default via ${gateway} dev eth0`);
  assert.match(await shell('ip -br link'), 'kapsel0');
  assert.not.match(await addresses({ KAPSEL_DEFAULT_NETWORK: 'none' }), 'eth0');
  assert.match(await addresses({}, '--default-network', 'host'), 'kapsel0');
  await test.engine.networks.create('mine', { subnets: [{ subnet: '10.7.0.0/24' }] });
  assert.match(await addresses({}, '--default-network', 'mine'), 'default via 10.7.0.1');
  await kapsel('network', 'rm', 'mine');
});

t('a container in a user namespace of its own is on a network too, in one that is not its own', async () => {
  const flags = ['--rm', '--network', 'bridge', '--userns', '100000:65536', '--sysctl', 'net.ipv4.ip_default_ttl=77'];
  const script = 'ip -br -4 addr; cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ip_default_ttl';
  const stdout = await kapsel('run', ...flags, image, 'bash', '-c', script);
  assert.match(stdout, /eth0.*\n0\n77\n$/s);
});

t('a parameter of the kernel may be an interface’s, in a user namespace too', async () => {
  const flags = ['--rm', '--network', 'bridge', '--sysctl', 'net.ipv4.conf.eth0.log_martians=1'];
  for (const more of [[], ['--userns', '100000:65536']]) {
    const script = ['cat', '/proc/sys/net/ipv4/conf/eth0/log_martians'];
    assert.is(await kapsel('run', ...flags, ...more, image, ...script), '1\n');
  }
});

t('a program never begins where its port is another’s, and finds its network whole where it does', async () => {
  const host = createServer().listen(8123, '0.0.0.0');
  await once(host, 'listening');
  const ports = ['--rm', '--network', 'bridge', '-v', 'began:/began'];
  const args = ['run', ...ports, '-p', '8123:80', image, 'bash', '-c', 'echo here > /began/file'];
  const { exitCode, stderr } = await test.kapsel(args);
  assert.is(exitCode, 125);
  assert.match(stderr, /8123/);
  host.close();
  const script =
    '[ -e /began/file ] || echo never; read -r _ state _ < <(ip -br addr show eth0); echo $state; ip route';
  const out = await kapsel('run', ...ports, '-p', '8123:80', image, 'bash', '-c', script);
  assert.match(out, /^never\nUP\ndefault via /);
  await kapsel('volume', 'rm', 'began');
});

t('without nf_tables or bridges the error says what helps', () => {
  const { hint } = errorFrom({ code: 'NOT_SUPPORTED', message: 'cannot make the bridge', errno: 95 });
  assert.match(hint!, 'give --network none');
});

t('an address that has a new owner is reached at once', async () => {
  await test.engine.networks.create('fixed', { subnets: [{ subnet: '10.8.0.0/24' }] });
  await kapsel('run', '-d', '--name', 'neighbour', '--network', 'fixed', image, 'sleep', '300');
  const asks = ['exec', 'neighbour', 'busybox', 'nc', '-w', '1', '10.8.0.9', '80', '-e', 'true'];
  for (const owner of ['first', 'second', 'third']) {
    const flags = ['--name', owner, '--network', 'fixed', '--ip', '10.8.0.9'];
    await kapsel('run', '-d', ...flags, image, 'busybox', 'httpd', '-f', '-p', '80');
    // Its server may need a moment; a neighbour that knows another hardware address for it needs five seconds.
    const begun = Date.now();
    let reached = false;
    while (!reached && Date.now() - begun < 2500) reached = (await test.kapsel(asks)).exitCode === 0;
    assert.ok(reached, owner);
    await kapsel('rm', '-f', owner);
  }
  await kapsel('rm', '-f', 'neighbour');
  await kapsel('network', 'rm', 'fixed');
});

t('a network gets addresses that the machine has no way to yet', async () => {
  // Where networks come from: half of it is another's, and the next block too.
  await shell(`ip link add way type veth peer name other; ip link set way up; ip link set other up
    ip route add 10.64.0.0/13 dev way; ip route add 10.72.0.0/25 dev way`);
  const { subnets } = await test.engine.networks.create('beside');
  assert.is(subnets[0]!.subnet, '10.72.1.0/24');
  await shell('ip link delete way');
  await kapsel('network', 'rm', 'beside');
});

t('a healthy machine has nothing to complain of', async () => {
  assert.equal(await diagnosed(), []);
  await serve('healthy', '-p', '8080:80');
  assert.equal(await diagnosed(), []);
  assert.is(await kapsel('network', 'doctor'), 'nothing stands in the way\n');
});

t('what somebody has flushed comes back with the next command', async () => {
  await serve('other', '-p', '8081:80');
  const damages = ['nft flush ruleset', 'nft delete table inet kapsel', 'nft flush map inet kapsel any4'];
  const commands = [
    ['ps'],
    ['run', '--rm', '--network', 'bridge', image, 'true'],
    ['network', 'ls'],
    ['port', 'add', 'other', '8082:80'],
  ];
  for (const [at, damage] of damages.entries()) {
    await shell(damage);
    assert.not.equal(await diagnosed(), []);
    await kapsel(...(damage.includes('map') ? commands[0]! : commands[at + 1]!));
    assert.ok((await answers(8080)) && (await answers(8081)), damage);
    assert.equal(await diagnosed(), []);
  }
  await shell('nft flush ruleset');
  await kapsel(...commands[3]!);
  assert.ok((await answers(8080)) && (await answers(8082)));
  await kapsel('rm', '-f', 'other');
  assert.not.ok(await answers(8081));
});

t('what others do is told, each with what helps', async () => {
  const cases: [damage: string, code: string, mended: string][] = [
    ['sysctl -qw net.ipv4.ip_forward=0', 'FORWARDING_OFF', 'sysctl -qw net.ipv4.ip_forward=1'],
    [
      `nft 'table ip filter { chain DOCKER-USER { }
        chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }; }'`,
      'FORWARD_DROPPED',
      '',
    ],
    [
      'sysctl -qw net.ipv4.conf.kapsel0.route_localnet=0',
      'LOOPBACK_UNROUTED',
      'sysctl -qw net.ipv4.conf.kapsel0.route_localnet=1',
    ],
    ['ip link add kbr-stray type bridge', 'BRIDGE_STRAY', 'ip link delete kbr-stray'],
    [
      `nft add element inet kapsel any4 '{ tcp . 99 comment "${'a'.repeat(64)}" : 10.9.9.9 . 80 }'`,
      'PORT_STRAY',
      `nft delete element inet kapsel any4 '{ tcp . 99 }'`,
    ],
  ];
  for (const [damage, code, mended] of cases) {
    await shell(damage);
    assert.equal(await diagnosed(), [code]);
    const { problems } = JSON.parse(
      (await test.kapsel(['network', 'doctor', '--format', 'json'])).stdout,
    ) as NetworkHealth;
    await shell(mended || problems[0]!.remedy);
    assert.equal(await diagnosed(), [], `${code}: ${problems[0]!.remedy}`);
  }
  await shell('nft delete table ip filter');
});

t('IPv6 that is not forwarded, and old tables that cannot be looked into, are told', async () => {
  await test.engine.networks.create('six', { ipv4: false, ipv6: true });
  await kapsel('run', '-d', '--name', 'six', '--network', 'six', image, 'sleep', '600');
  await shell('sysctl -qw net.ipv6.conf.all.forwarding=0; iptables-legacy -A FORWARD -j ACCEPT');
  const { problems } = await test.engine.networks.doctor();
  assert.equal(
    problems.map(({ code, severity }) => `${severity} ${code}`),
    ['error FORWARDING_OFF', 'warning LEGACY_TABLES'],
  );
  assert.match(problems[0]!.message, 'IPv6');
  await shell(problems[0]!.remedy);
  assert.equal(await diagnosed(), ['LEGACY_TABLES']);
  assert.match(await shell(problems[1]!.remedy.split(' shows ')[0]!), '-A FORWARD -j ACCEPT');
  await kapsel('rm', '-f', 'six');
  await kapsel('network', 'rm', 'six');
});

t('a port or a bridge that is gone is told, and comes back as it is said', async () => {
  await shell(`nft delete element inet kapsel any4 '{ tcp . 8080 }'`);
  assert.equal(await diagnosed(), ['PORT_MISSING', 'LEGACY_TABLES']);
  await kapsel('ps');
  assert.equal(await diagnosed(), ['LEGACY_TABLES']);
  await shell('ip link delete kapsel0');
  assert.equal(await diagnosed(), ['LEGACY_TABLES', 'BRIDGE_MISSING']);
  await kapsel('restart', '-t', '0', 'healthy');
  assert.equal(await diagnosed(), ['LEGACY_TABLES']);
  assert.ok(await answers(8080));
});

/** `kapsel network doctor` behind another command. */
async function doctorBehind(...command: string[]): Promise<NetworkHealth['problems']> {
  const [program = '', ...args] = command;
  const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
  const words = [...args, process.execPath, cli, 'network', 'doctor', '--format', 'json'];
  return (JSON.parse((await run(program, words, { env: test.env })).stdout) as NetworkHealth).problems;
}

t('connections that cannot be tracked any more, and rights that are missing, are told', async () => {
  await answers(8080);
  // The number is the whole machine's: here is one that this file alone sees.
  const path = '/proc/sys/net/netfilter/nf_conntrack_max';
  const hidden = `echo 1 > ${test.directory}/most; mount --bind ${test.directory}/most ${path}; exec "$@"`;
  const full = await doctorBehind('unshare', '--mount', '--propagation', 'private', 'bash', '-ec', hidden, 'bash');
  const found = full.find(({ code }) => code === 'CONNECTIONS_FULL');
  assert.is(found?.remedy, 'sysctl -w net.netfilter.nf_conntrack_max=2');
  const [lacking, ...more] = await doctorBehind('setpriv', '--bounding-set=-net_admin');
  assert.equal([lacking?.code, lacking?.severity, more.length], ['KERNEL_LACKS', 'error', 0]);
  assert.match(lacking!.remedy, 'CAP_NET_ADMIN');
});

t('ufw is told its own commands', async () => {
  await shell(`nft 'table ip filter { chain ufw-before-forward { }
    chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; }; }'`);
  const { problems, managers } = await test.engine.networks.doctor();
  assert.equal(managers, ['ufw']);
  const { remedy } = problems.find(({ code }) => code === 'FORWARD_DROPPED')!;
  assert.is(remedy, 'ufw route allow in on kapsel0; ufw route allow out on kapsel0');
  await shell('nft delete table ip filter');
  await kapsel('rm', '-f', 'healthy');
});

t.run();
