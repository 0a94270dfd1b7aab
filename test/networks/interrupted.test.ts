// Commands that change a running container's networks and ports, killed at any moment: the next one finds a state that it can
// go on from, and nothing is left. Everything is in a network namespace of this file's own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('interrupted network commands');
const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
const image = 'host:bash,ip,sleep';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  await test.engine.networks.create('web');
  await test.engine.networks.create('back', { subnets: [{ subnet: '10.8.0.0/29' }] });
  await test.engine.containers.start(image, { name: 'victim', network: 'web', command: ['sleep', '600'] });
});

t.after(() => test.close());

/** How long a command takes that nobody kills. */
async function duration(args: string[]): Promise<number> {
  const begun = performance.now();
  const { exitCode, stderr } = await test.kapsel(args);
  assert.is(exitCode, 0, stderr);
  return performance.now() - begun;
}

async function killed(args: string[], after: number): Promise<void> {
  const child = spawn(process.execPath, [cli, ...args], { env: { ...process.env, ...test.env }, stdio: 'ignore' });
  const ended = once(child, 'exit');
  await sleep(after);
  child.kill('SIGKILL');
  await ended;
}

const links = async () => (await run('ip', ['-br', 'link'])).stdout.trim().split('\n').length;
const inside = async () => (await test.kapsel(['exec', 'victim', 'ip', '-br', 'link'])).stdout.match(/eth\d/g);
const published = async () =>
  (await run('nft', ['-j', 'list', 'map', 'inet', 'kapsel', 'any4'])).stdout.includes('8080');

t('connect and disconnect', async () => {
  const connect = ['network', 'connect', 'back', 'victim'];
  const disconnect = ['network', 'disconnect', '-f', 'back', 'victim'];
  const times = [await duration(connect), await duration(disconnect)];
  const before = await links();
  for (let round = 0; round < 14; round++) {
    const [command, time] = round % 2 === 0 ? [connect, times[0]!] : [disconnect, times[1]!];
    if (command === disconnect) await test.engine.networks.connect('back', 'victim');
    // The second half of it, mostly: before that it only loads.
    await killed(command, time * (0.4 + 0.05 * round));
    await test.engine.networks.disconnect('back', 'victim', { force: true });
    assert.equal(await inside(), ['eth0'], `round ${round}`);
    assert.is(await links(), before, `round ${round}`);
    assert.equal((await test.engine.networks.inspect('back')).containers, []);
  }
});

t('port add and port rm', async () => {
  const add = ['port', 'add', 'victim', '8080:80'];
  const remove = ['port', 'rm', 'victim', '8080:80'];
  const times = [await duration(add), await duration(remove)];
  for (let round = 0; round < 10; round++) {
    const [command, time] = round % 2 === 0 ? [add, times[0]!] : [remove, times[1]!];
    if (command === remove) await test.engine.networks.publish('victim', ['8080:80']);
    await killed(command, time * (0.4 + 0.06 * round));
    // Whatever came of it, it can be opened and closed.
    const had = await test.engine.networks.ports('victim');
    if (had.length === 0) await test.engine.networks.publish('victim', ['8080:80']);
    await test.engine.networks.unpublish('victim', ['8080:80']);
    assert.equal(await test.engine.networks.ports('victim'), [], `round ${round}`);
    assert.not.ok(await published(), `round ${round}`);
  }
});

t.run();
