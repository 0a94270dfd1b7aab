// Inside the virtual machine: runs the programs of a plan, two at a time, and prints a line of JSON for each that has ended.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeSync } from 'node:fs';
import type { Result } from '../machine.ts';
import type { Plan, Program } from '../programs.ts';
import { remains } from './remains.ts';

const plan = JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as Plan;

/** Seconds for one program. */
const deadline = 400;

/** The sums of a cargo test program's or a uvu suite's last lines. */
function count(output: string): Pick<Result, 'passed' | 'failed' | 'skipped'> {
  const sums = { passed: 0, failed: 0, skipped: 0 };
  for (const [, passed, failed, ignored] of output.matchAll(
    /test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/g,
  )) {
    sums.passed += Number(passed);
    sums.failed += Number(failed);
    sums.skipped += Number(ignored);
  }
  const number = (name: string) => Number(new RegExp(`^\\s+${name}:\\s+(\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  sums.passed += number('Passed');
  sums.skipped += number('Skipped');
  sums.failed += number('Total') - number('Passed') - number('Skipped');
  return sums;
}

async function run({ name, path, args, tests, directory }: Program): Promise<Result> {
  const started = performance.now();
  const env = { ...process.env, ...plan.env, NO_COLOR: '1', FORCE_COLOR: '0', NODE_NO_WARNINGS: '1' };
  const child = spawn(path, [...args, ...tests], {
    cwd: directory,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const timer = setTimeout(() => {
    output += `\n${name} did not end within ${deadline} s`;
    process.kill(-(child.pid as number), 'SIGKILL');
    // What it started may have left its group and hold its pipes.
    for (const stream of [child.stdout, child.stderr]) stream.destroy();
  }, deadline * 1000);
  const [status] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  const counts = count(output);
  if (status !== 0 && counts.failed === 0) counts.failed = 1;
  const seconds = (performance.now() - started) / 1000;
  const notes = [...output.matchAll(/^# (.*)$/gm)].map(([, note]) => note as string);
  return { name, ...counts, seconds, notes, output: counts.failed > 0 ? output.slice(-20_000) : '' };
}

const say = (result: Result) => writeSync(1, `${JSON.stringify(result)}\n`);

const waiting = [...plan.programs];
await Promise.all(
  [1, 2].map(async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) say(await run(next));
  }),
);
const left = await remains();
const failed = left.length > 0 ? 1 : 0;
say({
  name: 'nothing is left',
  passed: 1 - failed,
  failed,
  skipped: 0,
  seconds: 0,
  notes: [],
  output: left.join('\n'),
});
writeSync(1, 'end\n');
