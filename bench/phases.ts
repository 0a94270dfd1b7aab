// Where the time of `kapsel-runtime run` goes: every phase that KAPSEL_TRACE names, the median over the runs.
// Two processes work at once, so a phase counts from the one before it in the same process; `at` is since the first.

import { readFileSync } from 'node:fs';

interface Mark {
  process: string;
  phase: string;
  /** Microseconds of CLOCK_MONOTONIC. */
  time: number;
}

interface Phase {
  name: string;
  /** Microseconds, a run each. */
  at: number[];
  took: number[];
}

/** Prints a trace of many runs, one after another. `totals`: what each took as seen from outside, in milliseconds. */
export function phases(path: string, totals: number[]): void {
  const runs = split(readFileSync(path, 'utf8'));
  const found = new Map<string, Phase>();
  for (const marks of runs) {
    const begun = marks[0]?.time ?? 0;
    const last = new Map<string, number>();
    let latest = begun;
    for (const { process, phase, time } of marks) {
      const entry = found.get(phase) ?? { name: phase, at: [], took: [] };
      found.set(phase, entry);
      entry.at.push(time - begun);
      entry.took.push(time - (last.get(process) ?? latest));
      last.set(process, time);
      latest = time;
    }
  }
  const within = runs.map((marks) => (marks.at(-1)?.time ?? 0) - (marks[0]?.time ?? 0));
  const outside = median(totals) * 1000 - median(within);
  console.log(`\n${'kapsel-runtime run: the end of'.padEnd(44)}${'at, µs'.padStart(10)}${'took'.padStart(10)}`);
  const line = (name: string, ...cells: (number | string)[]) =>
    console.log(
      name.padEnd(44) + cells.map((cell) => (typeof cell === 'string' ? cell : cell.toFixed(0)).padStart(10)).join(''),
    );
  for (const { name, at, took } of [...found.values()].toSorted((a, b) => median(a.at) - median(b.at))) {
    line(name, median(at), median(took));
  }
  line('its fork, exec and exit, seen from outside', '', outside);
}

/** The marks of each run; the executable begins twice: as it was called, and from its read-only view. */
function split(text: string): Mark[][] {
  const runs: Mark[][] = [];
  let caller = '';
  for (const line of text.trimEnd().split('\n')) {
    const [process = '', time = '0', ...words] = line.split(' ');
    const phase = words.join(' ');
    const begins = phase === 'oci: main';
    if (begins && process !== caller) runs.push([]);
    const name = begins && process === caller ? 'oci: main, from the read-only view' : phase;
    if (begins) caller = process;
    runs.at(-1)?.push({ process, time: Number(time) / 1000, phase: name });
  }
  return runs;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}
