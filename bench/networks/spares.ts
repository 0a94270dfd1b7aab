// From the call to a program that runs, with spares and without, interleaved.

import { setTimeout } from 'node:timers/promises';
import type { Engine } from '../../src/index.ts';
import { median, verdict } from '../ground.ts';

const kinds = ['none', 'bridge', 'port'] as const;
type Kind = (typeof kinds)[number];

/** Milliseconds in which the kernel clears away what a container leaves: the next start would wait for it. */
export const settling = 40;

export async function spares(plain: Engine, spared: Engine, rounds: number): Promise<void> {
  const all = [
    { name: 'kapsel: SDK', engine: plain, times: times() },
    { name: 'kapsel: SDK, spares', engine: spared, times: times() },
  ];
  for (let round = -3; round < rounds; round++) {
    for (const kind of turned(kinds, round)) {
      for (const { engine, times } of turned(all, round)) {
        const network = kind === 'none' ? 'none' : 'bench';
        const publish = kind === 'port' ? ['8080:80'] : [];
        const began = performance.now();
        const options = { command: ['/bin/sleep', '0.01'], rm: true, network, publish };
        const container = await engine.containers.start('bench', options);
        const took = performance.now() - began;
        await container.wait();
        await setTimeout(settling);
        // The first rounds warm up, and bring the spares.
        if (round >= 0) times[kind].push(took);
      }
    }
  }
  console.log(`\n${'until it runs, median, ms'.padEnd(28)}${kinds.map((kind) => kind.padStart(10)).join('')}`);
  for (const { name, times } of all) {
    console.log(name.padEnd(28) + kinds.map((kind) => median(times[kind]).toFixed(2).padStart(10)).join(''));
  }
  const [without, ready] = all.map(({ times }) => times) as [Record<Kind, number[]>, Record<Kind, number[]>];
  // Of each round its own difference: what slows the machine for a while slows both.
  const more = (one: number[], other: number[]) => median(one.map((time, at) => time - (other[at] as number)));
  verdict('bridge, ms more than none', more(without.bridge, without.none), 1.5);
  verdict('by a spare, ms more than none', more(ready.bridge, without.none), 0.3);
  verdict('by a spare, ms more than none by a spare', more(ready.bridge, ready.none), 0.3);
  verdict('a port, ms more than bridge', more(without.port, without.bridge), 0.1);
}

function times(): Record<Kind, number[]> {
  return { none: [], bridge: [], port: [] };
}

/** In another order each round. */
export function turned<T>(all: readonly T[], round: number): T[] {
  const by = (round + all.length * 8) % all.length;
  const turned = [...all.slice(by), ...all.slice(0, by)];
  return round % 2 === 0 ? turned : turned.reverse();
}
