// Many containers on one network: is the last start as fast as the first? With IPv6 each that comes tells all others whom it
// listens to, on anybody's bridge, so networks of both families are measured by themselves.

import type { Container, Engine } from '../../src/index.ts';
import { median, verdict } from '../ground.ts';

/** The starts at the beginning and at the end that are compared. */
const span = 25;

export async function many(engine: Engine, count: number): Promise<void> {
  console.log('');
  await engine.networks.create('one', { subnets: [{ subnet: '10.97.0.0/20' }] });
  await engine.networks.create('both', { subnets: [{ subnet: '10.98.0.0/20' }, { subnet: 'fd98::/64' }] });
  // What grows without a network is the engine's.
  for (const [network, what] of [
    ['none', 'on none'],
    ['one', 'on one network'],
    ['both', 'on one network of IPv4 and IPv6'],
  ] as const) {
    const containers: Container[] = [];
    const times: number[] = [];
    try {
      for (let each = 0; each < count; each++) {
        const began = performance.now();
        const container = await engine.containers.create('bench', { command: ['/bin/sleep', '3600'], network });
        containers.push(container);
        await container.start();
        times.push(performance.now() - began);
      }
    } finally {
      for (const container of containers) await container.remove({ force: true });
    }
    const windows = [0, 0.25, 0.5, 0.75].map((part) => times.slice(part * count, part * count + span));
    const medians = [...windows, times.slice(-span)].map((times) => median(times));
    console.log(`${count} ${what}: starts of ${span}, ms: ${medians.map((time) => time.toFixed(2)).join(' … ')}`);
    verdict(`the last ${span} / the first, ${what}`, (medians.at(-1) as number) / (medians[0] as number), 1.2);
  }
  for (const name of ['one', 'both']) await engine.networks.remove(name);
}
