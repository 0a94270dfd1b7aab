// kill -9 at random moments of start, connect, disconnect and stop, of who does it, of the monitors, those that wait too, or
// of all at once: after the next command no address, element, port, cable, name, cgroup or process is left.
// deadline: 120

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine } from '../../src/index.ts';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('networks and kill -9');
const image = 'host:sleep';
const rounds = 12;
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  // Of each one address more than is needed at once: one that is lost is missed soon.
  await test.engine.networks.create('one', {
    subnets: [{ subnet: '10.8.0.0/29', reserved: [] }, { subnet: 'fd00:8::/125' }],
  });
  await test.engine.networks.create('two', { subnets: [{ subnet: '10.9.0.0/29' }] });
  // Bridges and the table stay.
  const flags = ['--rm', '--network', 'one', '--network', 'two'];
  assert.is((await test.kapsel(['run', ...flags, image, 'sleep', '0'])).exitCode, 0);
});

t.after(() => test.close());

/** Processes that have something of this engine open: monitors, and whoever is at work for it. */
function processes(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((pid) => {
      try {
        const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
        return open.some((path) => path.startsWith(`${test.runRoot}/`));
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Everything that may be left of a container on networks. */
async function remains(): Promise<object> {
  const { stdout } = await run('nft', ['list', 'table', 'inet', 'kapsel']);
  const links = (await run('ip', ['-br', 'link', 'show', 'type', 'veth'])).stdout.split('\n').filter(Boolean);
  const networks = await Promise.all(['one', 'two'].map((name) => test.engine.networks.inspect(name)));
  const names = networks.map(({ id }) => {
    try {
      return readdirSync(`${test.runRoot}/networks/${id}/names`);
    } catch {
      return [];
    }
  });
  return {
    census: await test.census(),
    rules: stdout,
    listeners: (await run('ss', ['-Hltn'])).stdout,
    links,
    members: networks.map(({ containers }) => containers),
    names,
    processes: processes(),
  };
}

/** The kernel takes cables away in its own time, and a process that was killed goes in its own. */
async function settled(expected: object): Promise<object> {
  let found = await remains();
  for (let tries = 0; JSON.stringify(found) !== JSON.stringify(expected) && tries < 100; tries++) {
    await setTimeout(50);
    found = await remains();
  }
  return found;
}

/** A program that starts a container, connects it, opens a port, takes both back and ends it, over and over. */
function worker(spares: number) {
  const roots = { root: test.root, runRoot: test.runRoot, cgroupParent: test.cgroupParent, spares };
  const code = `
    import { Engine } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)};
    const engine = new Engine(${JSON.stringify(roots)});
    console.log('begins');
    for (;;) {
      const options = { command: ['sleep', '600'], network: 'one', publish: ['8080:80', '8081:81/udp'] };
      const container = await engine.containers.start(${JSON.stringify(image)}, options);
      await engine.networks.connect('two', container.id);
      await engine.networks.disconnect('one', container.id);
      await container.remove({ force: true });
    }`;
  return spawn(process.execPath, ['--input-type=module-typescript', '-e', code], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

t('nothing is left', async () => {
  const before = await remains();
  assert.equal((before as { processes: number[] }).processes, []);
  for (let round = 0; round < rounds; round++) {
    const victim = worker(round % 2);
    const ended = once(victim, 'exit');
    await once(victim.stdout, 'data');
    const delay = Math.random() * 250;
    await setTimeout(delay);
    // The worker; the monitors, after which it fails or goes on; all.
    const kind = round % 3;
    const monitors = processes().filter((pid) => pid !== victim.pid);
    if (kind !== 1) victim.kill('SIGKILL');
    if (kind !== 0) {
      for (const pid of monitors) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended meanwhile.
        }
      }
    }
    if (kind === 1) await setTimeout(Math.random() * 50);
    victim.kill('SIGKILL');
    await ended;
    // The next command, of somebody else.
    await using engine = new Engine({ root: test.root, runRoot: test.runRoot, cgroupParent: test.cgroupParent });
    for (const { id } of await engine.containers.list({ all: true })) {
      await (await engine.containers.get(id)).remove({ force: true });
    }
    assert.equal(await settled(before), before, `round ${round}: killed after ${delay.toFixed(1)} ms`);
  }
  // Every address, and the ports, are to be had.
  for (let each = 0; each < 5; each++) {
    const options = { command: ['sleep', '600'], network: ['one', 'two'], ...(each === 0 && { publish: ['8080:80'] }) };
    await test.engine.containers.start(image, options);
  }
});

t.run();
