// What the monitor of a running container costs in memory.

import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type { Engine } from '../src/index.ts';

/** The parent's id of a process. */
function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Resident and private memory, in megabytes (10^6 bytes), of the monitor of a container that sleeps. */
export async function monitorMemory(engine: Engine): Promise<{ rss: number; private: number }> {
  const container = await engine.containers.create('bench', { command: ['sleep', '60'] });
  try {
    await container.start();
    // What only the start needed is given back when the container has settled.
    await setTimeout(3000);
    const { State } = await container.inspect();
    const text = readFileSync(`/proc/${parentOf(State.Pid)}/smaps_rollup`, 'utf8');
    const sum = (name: string) =>
      [...text.matchAll(new RegExp(`^${name}:\\s+(\\d+)`, 'gm'))].reduce((all, [, kib]) => all + Number(kib), 0) * 1024;
    return { rss: sum('Rss') / 1e6, private: sum('Private_Dirty') / 1e6 };
  } finally {
    await container.remove({ force: true });
  }
}
