// A Swarm of two daemons, each in a machine of its own, with a cable between the two and kapsel-runtime in both.
// The service is found by name (DNS round robin) and by ports of the nodes: that needs no IPVS in the kernel, as virtual
// addresses and the routing mesh do.
// deadline: 240

import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../harness/engine.ts';
import { Docker } from './dockerd.ts';
import { busyboxArchive } from './images.ts';
import { Machine } from './machine.ts';

const t = suite('swarm');
const address = { first: '10.99.0.1', second: '10.99.0.2' };
let first: Docker;
let second: Docker;

async function must(command: string, args: string[]): Promise<void> {
  const { exitCode, stderr } = await run(command, args);
  if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** Tries until it holds, for at most a minute. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await holds()); tries += 1) {
    if (tries === 300) throw new Error(`${what}: not within a minute\n${await first.log()}`);
    await setTimeout(200);
  }
}

t.before(async () => {
  const flags = ['--default-runtime', 'kapsel'];
  first = new Docker(await Machine.make({}, 'first'), flags, 'first');
  second = new Docker(await Machine.make({}, 'second'), flags, 'second');
  const end = (machine: Machine) => ['netns', `${machine.pid}`];
  const enter = ['--target', `${first.machine.pid}`, '--net', 'ip', 'link', 'add', 'cable', 'type', 'veth'];
  await must('nsenter', [...enter, 'peer', 'name', 'cable', ...end(second.machine)]);
  const archive = await busyboxArchive();
  for (const [docker, own] of [
    [first, address.first],
    [second, address.second],
  ] as const) {
    await docker.machine.output('ip', ['address', 'add', `${own}/24`, 'dev', 'cable']);
    await docker.machine.output('ip', ['link', 'set', 'cable', 'up']);
    await docker.start();
    await docker.output('load', '--input', archive);
    await docker.remember();
  }
});

t.after(async () => {
  await first.close();
  await second.close();
});

t('a service of four replicas on two nodes is reached from both', async () => {
  await first.output('swarm', 'init', '--advertise-addr', address.first);
  const token = await first.output('swarm', 'join-token', '--quiet', 'worker');
  await second.output('swarm', 'join', '--token', token, '--advertise-addr', address.second, `${address.first}:2377`);
  await first.output('network', 'create', '--driver', 'overlay', '--attachable', 'mesh');

  const serve = 'hostname >/data/index.html; exec busybox httpd -f -p 8080 -h /data';
  const service = ['--name', 'web', '--replicas', '4', '--network', 'mesh', '--endpoint-mode', 'dnsrr'];
  const own = [
    '--hostname',
    'web-{{.Task.Slot}}',
    '--publish',
    'mode=host,target=8080',
    '--no-resolve-image',
    '--stop-grace-period',
    '1s',
    '--detach',
  ];
  await first.output('service', 'create', ...service, ...own, 'box:1', 'sh', '-c', serve);
  await until('four replicas run', async () => {
    const states = await first.output('service', 'ps', '--format', '{{.CurrentState}}', 'web');
    return states.split('\n').filter((state) => state.startsWith('Running')).length === 4;
  });
  const names = ['web-1', 'web-2', 'web-3', 'web-4'];

  const tasks = async (docker: Docker) =>
    (await docker.output('ps', '--quiet', '--filter', 'label=com.docker.swarm.service.name=web')).split('\n');
  for (const docker of [first, second]) {
    const ids = await tasks(docker);
    assert.is(ids.length, 2);
    for (const id of ids) assert.is(await docker.inspect(id, '.HostConfig.Runtime'), 'kapsel');
  }

  // By the ports of both nodes, from both.
  const ports = async (docker: Docker, node: string) => {
    const port = '(index (index .NetworkSettings.Ports "8080/tcp") 0).HostPort';
    return Promise.all((await tasks(docker)).map(async (id) => `http://${node}:${await docker.inspect(id, port)}/`));
  };
  const urls = [...(await ports(first, address.first)), ...(await ports(second, address.second))];
  for (const { machine } of [first, second]) {
    const answers = await Promise.all(urls.map((url) => machine.output('busybox', ['wget', '-qO-', url])));
    assert.equal(answers.toSorted(), names);
  }

  // By the name of the service, over the overlay network, from a container on either node.
  const ask =
    'for a in $(busybox nslookup web | busybox awk "/^Address/ && !/127.0.0.11/ { print \\$NF }"); do busybox wget -qO- http://$a:8080/; done';
  for (const docker of [first, second]) {
    await until(`all answer ${docker === first ? 'the first' : 'the second'} node`, async () => {
      const { stdout } = await docker.run(['run', '--rm', '--network', 'mesh', 'box:1', 'sh', '-c', ask]);
      return stdout.trim().split('\n').toSorted().join() === names.join();
    });
  }
});

t('a replica that is killed is replaced, and the service scaled', async () => {
  const [id] = (await second.output('ps', '--quiet', '--filter', 'label=com.docker.swarm.service.name=web')).split(
    '\n',
  );
  await second.output('kill', id as string);
  const running = async () =>
    (await first.output('service', 'ps', '--format', '{{.ID}} {{.CurrentState}}', 'web'))
      .split('\n')
      .filter((line) => line.includes(' Running')).length;
  await until('the killed one is seen', async () => (await first.output('service', 'ps', 'web')).includes('Failed'));
  await until('it is replaced', async () => (await running()) === 4);
  await first.output('service', 'scale', '--detach', 'web=2');
  await until('two are left', async () => (await running()) === 2);
});

t('the service leaves nothing on either node', async () => {
  await first.output('service', 'rm', 'web');
  for (const docker of [first, second]) {
    await until('no task is left', async () => (await docker.output('ps', '--quiet')) === '');
  }
  await first.output('network', 'rm', 'mesh');
  await second.output('swarm', 'leave');
  await first.output('swarm', 'leave', '--force');
  for (const docker of [first, second]) await docker.clean();
});

t.run();
