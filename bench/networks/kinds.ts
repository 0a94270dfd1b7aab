// The kinds of network that starts are measured on, and in which order.

import { median } from '../ground.ts';

/** Kinds of network, in the order they are shown. */
export const kinds = ['none', 'bridge', 'port'] as const;
export type Kind = (typeof kinds)[number];
export type Times = Record<Kind, number[]>;

/** Milliseconds in which the kernel clears away what a container leaves: the next start would wait for it. */
export const settling = 40;

export function noTimes(): Times {
  return { none: [], bridge: [], port: [] };
}

/** What the SDK is asked for. */
export function on(kind: Kind): { network: string; publish: string[] } {
  return { network: kind === 'none' ? 'none' : 'bench', publish: kind === 'port' ? ['8080:80'] : [] };
}

/** In another order each round. */
export function turned<T>(all: readonly T[], round: number): T[] {
  const by = (round + all.length * 8) % all.length;
  const turned = [...all.slice(by), ...all.slice(0, by)];
  return round % 2 === 0 ? turned : turned.reverse();
}

export function show(title: string, all: readonly { name: string; times: Times }[], of = median): void {
  console.log(`\n${title.padEnd(28)}${kinds.map((kind) => kind.padStart(10)).join('')}`);
  for (const { name, times } of all) {
    console.log(name.padEnd(28) + kinds.map((kind) => of(times[kind]).toFixed(2).padStart(10)).join(''));
  }
}

/** Of each round its own difference: what slows the machine for a while slows both. */
export function more(than: number[], times: number[]): number {
  return median(times.map((time, at) => time - (than[at] as number)));
}
