// A Docker daemon and podman, with bridges of their own, on one machine with kapsel: everybody's published ports work, whoever
// comes first, and nobody's rules are touched by another. The machine is the managers'; a second one is at a cable.
// deadline: 240

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetworkHealth } from '../../src/index.ts';
import { type CommandResult, scratch, testEngine, type TestEngine } from '../harness/engine.ts';
import { cable, Machine as Far } from '../harness/machine.ts';
import { inOwnNetwork } from '../harness/netns.ts';
import { Docker } from '../managers/dockerd.ts';
import { busybox, busyboxArchive } from '../managers/images.ts';
import { removeParent, runtime, tag } from '../managers/machine.ts';

inOwnNetwork(import.meta.url);

const t = suite('beside docker and podman');
const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
const image = 'host:busybox';
const here = '10.99.0.1';
let docker: Docker;
let far: Far;
let test: TestEngine;
let archive: string;

const kapsel = (...args: string[]): Promise<CommandResult> =>
  docker.machine.run(process.execPath, [cli, ...args], { env: test.env });

async function must(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await kapsel(...args);
  assert.is(exitCode, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

const podman = (...args: string[]): Promise<string> => {
  const own = ['--root', join(scratch, 'podman'), '--runroot', '/run/podman-test', '--tmpdir', '/run/podman-test/tmp'];
  const manners = ['--cgroup-manager', 'cgroupfs', '--events-backend', 'file', '--runtime', runtime];
  return docker.machine.output('podman', [...own, ...manners, ...args]);
};

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  archive = await busyboxArchive();
  // What serves here does not end when it is asked to.
  docker = await Docker.make(['--shutdown-timeout', '1']);
  far = await Far.make();
  const { pid } = docker.machine;
  cable('far', { pid, addresses: [`${here}/24`] }, { pid: far.pid, addresses: ['10.99.0.2/24'] });
  await docker.output('load', '--input', archive);
  await mkdir(join(scratch, 'podman'));
  await podman('load', '--input', archive);
});

t.after(async () => {
  await kapsel('rm', '-f', 'front');
  await podman('rm', '--all', '--force', '--time', '0').catch(() => undefined);
  await docker.run(['rm', '--force', 'docker']);
  far.stop();
  await docker.close();
  await removeParent(tag, ['conmon']);
  await rm(join(scratch, 'podman'), { recursive: true, force: true });
  await test.close();
});

const server = (name: string) => ['sh', '-c', `echo ${name} > /tmp/hostname; exec httpd -f -p 80 -h /tmp`];

/** What answers at a port of the machine, on it and from the other one. */
async function answers(port: number): Promise<string[]> {
  const get = ['-sS', '-m', '2', `http://${here}:${port}/hostname`];
  const ends = await Promise.all([docker.machine.run('curl', get), far.run('curl', ...get)]);
  return ends.map(({ stdout }) => stdout.trim() || 'no');
}

/** Servers need a moment, and a daemon's proxy too. */
async function everybodyAnswers(expected: Record<number, string>): Promise<void> {
  for (const [port, name] of Object.entries(expected)) {
    let found = await answers(Number(port));
    for (let tries = 0; tries < 25 && found.includes('no'); tries++) {
      await setTimeout(100);
      found = await answers(Number(port));
    }
    assert.equal(found, [name, name], port);
  }
}

/** Everybody's tables, chains and rules but ours, with the numbers that whatever is made anew gets anew. */
async function others(): Promise<object[]> {
  const listed = JSON.parse(await docker.machine.output('nft', ['-s', '-j', 'list', 'ruleset']));
  type Item = Record<string, { table?: string; name?: string }>;
  return (listed.nftables as Item[]).filter((item) => {
    const [[kind, { table, name } = {}] = ['']] = Object.entries(item);
    return !((kind === 'table' ? name : table) ?? '').startsWith('kapsel');
  });
}

async function doctor(): Promise<NetworkHealth> {
  return JSON.parse((await kapsel('network', 'doctor', '--format', 'json')).stdout) as NetworkHealth;
}

t('nothing of others is touched by a start, an end, a repair and a look', async () => {
  const mine = `table inet mine {
    set known { type ipv4_addr; elements = { 192.0.2.1 }; }
    chain forward { type filter hook forward priority 0; ip saddr @known counter accept; }
    chain nat { type nat hook postrouting priority 100; oifname "far*" masquerade; }
  }`;
  await docker.machine.output('nft', [mine]);
  await docker.machine.output('iptables', [
    '-t',
    'nat',
    '-A',
    'PREROUTING',
    '-p',
    'tcp',
    '--dport',
    '9',
    '-j',
    'RETURN',
  ]);
  const before = await others();
  assert.ok(before.length > 20, 'docker has rules');
  await must('network', 'create', 'web');
  const flags = ['--network', 'web', '-p', '8002:80', '--egress', 'deny'];
  await must('run', '-d', '--name', 'front', ...flags, image, 'busybox', 'sleep', '600');
  assert.equal(await others(), before, 'a start');
  await docker.machine.output('nft', ['delete table inet kapsel']);
  await must('ps');
  assert.match(await docker.machine.output('nft', ['list', 'tables']), /^table inet kapsel$/m);
  assert.equal(await others(), before, 'a repair');
  await doctor();
  await must('port', 'add', 'front', '-p', '8009:81');
  await must('rm', '-f', 'front');
  await must('network', 'rm', 'web');
  assert.equal(await others(), before, 'an end');
  await docker.machine.output('nft', ['delete table inet mine']);
});

t('ports of all three work, once docker lets packets through as the doctor says', async () => {
  await docker.output('run', '-d', '--name', 'docker', '-p', '8001:80', 'box:1', ...server('docker'));
  await everybodyAnswers({ 8001: 'docker' });
  const web = [
    'busybox',
    ...server('kapsel').with(2, 'echo kapsel > /tmp/hostname; exec busybox httpd -f -p 80 -h /tmp'),
  ];
  const own = ['--tmpfs', '/tmp', '--network', 'bridge'];
  await must('run', '-d', '--name', 'front', ...own, '-p', '8002:80', image, ...web);
  // Here at once. Docker's own chain drops what others send, and an accepting chain of ours would not bind it.
  const { problems, managers } = await doctor();
  assert.ok(managers.includes('docker'));
  assert.equal(
    problems.map(({ code }) => code),
    ['FORWARD_DROPPED'],
  );
  assert.match(problems[0]!.remedy, 'DOCKER-USER');
  await docker.machine.output('sh', ['-ec', problems[0]!.remedy]);
  assert.equal((await doctor()).problems, []);
  await everybodyAnswers({ 8001: 'docker', 8002: 'kapsel' });
  const limits = ['--ulimit', 'nofile=1024:4096', '--ulimit', 'nproc=1024:4096', '--cgroup-parent', `/${tag}`];
  await podman('run', '-d', '--name', 'podman', ...limits, '-p', '8003:80', busybox, ...server('podman'));
  // What docker drops of podman's it drops without us, too.
  await docker.machine.output('iptables', ['-I', 'DOCKER-USER', '-o', 'podman+', '-j', 'ACCEPT']);
  await everybodyAnswers({ 8001: 'docker', 8002: 'kapsel', 8003: 'podman' });
  // Whoever begins again is not in the way of the others.
  await docker.stop();
  await docker.start();
  await docker.run(['start', 'docker']);
  await must('restart', '-t', '0', 'front');
  await everybodyAnswers({ 8001: 'docker', 8002: 'kapsel', 8003: 'podman' });
  const taken = await kapsel('run', '--rm', '--network', 'bridge', '-p', '8001:80', image, 'busybox', 'true');
  assert.is(taken.exitCode, 125);
  assert.match(taken.stderr, /port .*8001\/tcp is taken by docker-proxy/);
  await podman('rm', '--force', '--time', '0', 'podman');
  await must('rm', '-f', 'front');
  await everybodyAnswers({ 8001: 'docker' });
});

t.run();
