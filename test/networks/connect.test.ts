// Containers joined to networks and parted from them, while they run and while they do not. Everything is in a network
// namespace of this file's own.

import { readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('network connect');
const image = 'host:bash,busybox,cat,curl,getent,grep,ip,sleep,true';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('web', { subnets: [{ subnet: '10.7.0.0/24' }] });
  await test.engine.networks.create('back', { subnets: [{ subnet: '10.8.0.0/24' }, { subnet: 'fd00:8::/64' }] });
  await test.engine.networks.create('inner', { subnets: [{ subnet: '10.9.0.0/24' }], internal: true });
});

t.after(() => test.close());

const kapsel = (...args: string[]) => test.output(...args);

/** A web server that says its container's hostname. */
async function serve(name: string, ...flags: string[]): Promise<string> {
  const server = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
  return (await kapsel('run', '-d', '--name', name, '-h', name, ...flags, image, ...server)).trim();
}

const sh = (name: string, script: string) => kapsel('exec', name, 'bash', '-c', script);
const fetchIn = (name: string, url: string) => sh(name, `curl -sS -m 3 ${url}/hostname 2> /dev/null || echo no`);
const interfaces = (name: string) => sh(name, `ip -br -4 addr show up | grep -o 'eth[0-9].*/24'`);
const links = async () => (await run('ip', ['-br', 'link'])).stdout.trim().split('\n').length;

async function refused(args: string[], message: RegExp): Promise<void> {
  const { exitCode, stderr } = await test.kapsel(args);
  assert.is(exitCode, 1, stderr);
  assert.match(stderr, message);
  assert.is(stderr.trim().split('\n').length, 1);
}

t('a running one gets an interface, names, and the way there; and loses them', async () => {
  await serve('here', '--network', 'web');
  await serve('there', '--network', 'back');
  const before = await links();
  assert.is(await fetchIn('here', 'http://there'), 'no\n');
  await kapsel('network', 'connect', '--alias', 'visitor', '--ip', '10.8.0.50', 'back', 'here');
  assert.match(await interfaces('here'), /^eth\d.* 10\.7\.0\.\d+\/24\neth1.* 10\.8\.0\.50\/24\n$/s);
  assert.match(await sh('here', 'ip -6 addr show eth1'), 'fd00:8::');
  assert.is(await fetchIn('here', 'http://there'), 'there\n');
  for (const name of ['here', 'visitor']) assert.is(await fetchIn('there', `http://${name}`), 'here\n');
  assert.match(await sh('here', 'cat /etc/hosts'), /^10\.8\.0\.50\there$/m);
  assert.match(await sh('here', 'ip route'), 'default via 10.7.0.1 dev eth0');
  assert.is(await kapsel('ps', '-f', 'name=^here$', '--format', '{{.Networks}}'), 'web,back\n');
  await kapsel('network', 'disconnect', 'back', 'here');
  assert.match(await interfaces('here'), /^eth0\S* +\S+ +10\.7\.0\.\d+\/24\n$/);
  assert.is(await links(), before);
  assert.is(await sh('there', 'getent hosts here visitor || echo none'), 'none\n');
  assert.not.match(await sh('here', 'cat /etc/hosts'), '10.8.0.50');
  // The address is free again.
  await kapsel('run', '--rm', '--network', 'back', '--ip', '10.8.0.50', image, 'true');
  await kapsel('rm', '-f', 'here', 'there');
});

t('an interface has the name that is asked for, in every life', async () => {
  await serve('called', '--network', 'name=web,interface-name=lan0');
  await kapsel('network', 'connect', '--interface-name', 'dmz0', 'back', 'called');
  const named = /^lan0\S* .* 10\.7\.0\.\d+\/24\ndmz0\S* .* 10\.8\.0\.\d+\/24\n$/s;
  const shown = () => sh('called', `ip -br -4 addr show up | grep -o '^[^l].*/24\\|^lan.*/24'`);
  assert.match(await shown(), named);
  assert.match(await sh('called', 'ip route'), 'default via 10.7.0.1 dev lan0');
  await refused(['network', 'connect', '--interface-name', 'dmz0', 'inner', 'called'], /has an interface dmz0 already/);
  await kapsel('restart', '-t', '0', 'called');
  assert.match(await shown(), named);
  await kapsel('rm', '-f', 'called');
});

t('the way to the world and published ports follow the first network that leads there', async () => {
  await serve('moves', '--network', 'inner', '--network', 'web', '-p', '8080:80');
  const answers = async () => (await run('curl', ['-sS', '-m', '3', 'http://127.0.0.1:8080/hostname'])).stdout;
  assert.match(await sh('moves', 'ip route'), 'default via 10.7.0.1 dev eth1');
  assert.is(await answers(), 'moves\n');
  await kapsel('network', 'connect', 'back', 'moves');
  await kapsel('network', 'disconnect', 'web', 'moves');
  assert.match(await sh('moves', 'ip route'), 'default via 10.8.0.1 dev eth2');
  assert.is(await answers(), 'moves\n');
  assert.match((await run('nft', ['list', 'map', 'inet', 'kapsel', 'any4'])).stdout, /: 10\.8\.0\.\d+ \. 80/);
  await kapsel('network', 'disconnect', 'back', 'moves');
  await kapsel('network', 'disconnect', 'inner', 'moves');
  assert.is(await sh('moves', 'ip -br link | grep -c eth || true'), '0\n');
  // All of it again, and as it was.
  await kapsel('network', 'connect', 'web', 'moves');
  assert.match(await sh('moves', 'ip route'), 'default via 10.7.0.1 dev eth0');
  assert.is(await answers(), 'moves\n');
  await kapsel('stop', '-t', '0', 'moves');
  await kapsel('start', 'moves');
  assert.is(await answers(), 'moves\n');
  await kapsel('rm', '-f', 'moves');
});

t('one that does not run is on its networks when it starts', async () => {
  await kapsel('create', '--name', 'later', '--network', 'web', image, 'sleep', '60');
  await kapsel('network', 'connect', '--ip', '10.8.0.60', 'back', 'later');
  await kapsel('network', 'disconnect', 'web', 'later');
  await kapsel('start', 'later');
  assert.match(await interfaces('later'), /^eth1.* 10\.8\.0\.60\/24\n$/);
  await kapsel('kill', 'later');
  await kapsel('network', 'connect', 'web', 'later');
  await kapsel('start', 'later');
  assert.match(await interfaces('later'), /10\.8\.0\.60\/24\n.* 10\.7\.0\.\d+\/24\n$/s);
  await kapsel('rm', '-f', 'later');
});

t('one of no network comes to some when it has left none', async () => {
  const none = ['network', 'connect', 'web', 'alone'];
  await serve('alone', '--network', 'none');
  await serve('other', '--network', 'web');
  await refused(none, /one of the networks in private \(none\) mode: first kapsel network disconnect none alone/);
  await kapsel('network', 'disconnect', 'none', 'alone');
  await kapsel(...none);
  assert.is(await fetchIn('other', 'http://alone'), 'alone\n');
  assert.is(await fetchIn('alone', 'http://other'), 'other\n');
  await kapsel('rm', '-f', 'alone', 'other');
});

t('what may be reached holds on a network that comes later', async () => {
  await serve('wanted', '--network', 'back');
  await serve('guarded', '--network', 'web', '--egress', 'deny');
  await kapsel('network', 'connect', 'back', 'guarded');
  assert.is(await fetchIn('guarded', 'http://wanted'), 'no\n');
  assert.is(await fetchIn('wanted', 'http://guarded'), 'guarded\n');
  await kapsel('rm', '-f', 'wanted', 'guarded');
});

t('what cannot be is one line, and nothing has changed', async () => {
  await serve('stays', '--network', 'web');
  await serve('holder', '--network', 'back', '--ip', '10.8.0.70');
  await serve('hosted', '--network', 'host');
  const before = { links: await links(), inspected: await kapsel('network', 'inspect', 'back') };
  await refused(['network', 'connect', 'web', 'stays'], /endpoint with name stays already exists in network web/);
  await refused(['network', 'connect', 'nowhere', 'stays'], /No such network: nowhere/);
  await refused(['network', 'connect', 'back', 'nobody'], /No such container: nobody/);
  await refused(['network', 'connect', '--ip', '10.8.0.70', 'back', 'stays'], /in use by container holder/);
  const outside = await test.kapsel(['network', 'connect', '--ip', '10.99.0.1', 'back', 'stays']);
  assert.match(outside.stderr, 'it does not belong to network back');
  await refused(['network', 'connect', 'back', 'hosted'], /cannot be disconnected from host network or connected/);
  await refused(['network', 'connect', 'host', 'stays'], /cannot be disconnected from host network or connected/);
  await refused(['network', 'disconnect', 'back', 'stays'], /stays is not connected to network back/);
  await kapsel('network', 'disconnect', '-f', 'back', 'stays');
  assert.equal({ links: await links(), inspected: await kapsel('network', 'inspect', 'back') }, before);
  await kapsel('rm', '-f', 'stays', 'holder', 'hosted');
});

t('many at once all come to be', async () => {
  await serve('busy', '--network', 'web');
  const names = Array.from({ length: 6 }, (_, at) => `many${at}`);
  for (const name of names) await test.engine.networks.create(name);
  await Promise.all(names.map((name) => test.engine.networks.connect(name, 'busy')));
  assert.is((await interfaces('busy')).trim().split('\n').length, 7);
  await Promise.all(names.map((name) => test.engine.networks.disconnect(name, 'busy')));
  assert.is((await interfaces('busy')).trim().split('\n').length, 1);
  await kapsel('rm', '-f', 'busy');
  assert.is(await kapsel('network', 'prune', '-f', '--filter', 'label=nobody'), '');
  const pruned = await kapsel('network', 'prune', '-f');
  assert.is(pruned, `Deleted Networks:\nback\ninner\n${names.join('\n')}\nweb\n\n`);
  assert.equal(readdirSync(`${test.runRoot}/networks`), []);
  assert.is(await links(), 1);
});

t('events are told as Docker tells them', async () => {
  const events: string[] = [];
  for await (const { type, action, attributes } of test.engine.events.follow({ since: 0, until: new Date() })) {
    if (type === 'network' && attributes.name === 'back')
      events.push(`${action} ${attributes.container?.length ?? ''}`);
  }
  assert.ok(events.includes('connect 64') && events.includes('disconnect 64'));
  assert.is(events.at(-1), 'destroy ');
});

t.run();
