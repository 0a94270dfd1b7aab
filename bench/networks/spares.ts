// From the call to a program that runs, with spares and without, interleaved.

import { setTimeout } from 'node:timers/promises';
import type { Engine } from '../../src/index.ts';
import { verdict } from '../ground.ts';
import { kinds, more, noTimes, on, settling, show, type Times, turned } from './kinds.ts';

export async function spares(plain: Engine, spared: Engine, rounds: number): Promise<void> {
  const all = [
    { name: 'kapsel: SDK', engine: plain, times: noTimes() },
    { name: 'kapsel: SDK, spares', engine: spared, times: noTimes() },
  ];
  for (let round = -3; round < rounds; round++) {
    for (const kind of turned(kinds, round)) {
      for (const { engine, times } of turned(all, round)) {
        const began = performance.now();
        const options = { command: ['/bin/sleep', '0.01'], rm: true, ...on(kind) };
        const container = await engine.containers.start('bench', options);
        const took = performance.now() - began;
        await container.wait();
        await setTimeout(settling);
        // The first rounds warm up, and bring the spares.
        if (round >= 0) times[kind].push(took);
      }
    }
  }
  show('until it runs, median, ms', all);
  const [without, ready] = all.map(({ times }) => times) as [Times, Times];
  verdict('bridge, ms more than none', more(without.none, without.bridge), 1.5);
  verdict('by a spare, ms more than none', more(without.none, ready.bridge), 0.3);
  verdict('by a spare, ms more than none by a spare', more(ready.none, ready.bridge), 0.3);
  verdict('a port, ms more than bridge', more(without.bridge, without.port), 0.1);
}
