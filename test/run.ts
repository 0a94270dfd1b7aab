// The project's test runner: lint, `cargo test`, then every uvu file in a process of its own with a deadline.
// Its last line is `N passed, N failed`, and its exit status says the same.
// `node test/run.ts PATTERN…` runs only the files whose path contains one of the patterns.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checks } from '../scripts/lint.ts';
import { flaws, tally, type Tally } from './runner/tally.ts';
import { remains, scratch } from './runner/scratch.ts';

const repository = new URL('..', import.meta.url).pathname;
const patterns = process.argv.slice(2);
const total: Tally = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

interface Run {
  output: string;
  /** The exit status; -1 where a signal or the deadline ended it. */
  status: number;
  timedOut: boolean;
}

/** Runs a command in a process group of its own, all of which ends with it or at the deadline (seconds). */
async function run(command: string, args: string[], env: NodeJS.ProcessEnv, deadline: number): Promise<Run> {
  const child = spawn(command, args, { cwd: repository, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  let timedOut = false;
  const endGroup = () => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch {
      // The whole group has ended already.
    }
  };
  const timer = setTimeout(() => {
    timedOut = true;
    endGroup();
  }, deadline * 1000);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearTimeout(timer);
  endGroup();
  return { output, status: code ?? -1, timedOut };
}

function report(name: string, result: Tally, seconds: number, complaints: string[], output: string): void {
  total.passed += result.passed;
  total.failed += result.failed;
  total.skipped += result.skipped;
  const mark = result.failed > 0 ? 'FAIL' : 'ok  ';
  console.log(
    `${mark} ${name}  ${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped (${seconds.toFixed(1)} s)`,
  );
  if (result.failed === 0) return;
  failures.push(name);
  console.log(output.trimEnd().replace(/^/gm, '     | '));
  for (const complaint of complaints) console.log(`     ${complaint}`);
}

/** One check that passes by exiting with 0. */
async function check(name: string, command: string, args: string[], deadline: number): Promise<void> {
  const started = performance.now();
  const { output, status, timedOut } = await run(command, args, process.env, deadline);
  const passed = status === 0;
  const complaints = timedOut ? [`${name} did not end within ${deadline} s`] : [];
  const result = { passed: passed ? 1 : 0, failed: passed ? 0 : 1, skipped: 0 };
  report(name, result, (performance.now() - started) / 1000, complaints, output);
}

/** Rust's tests: the counts are the sums over all its binaries. */
async function cargoTest(): Promise<void> {
  const started = performance.now();
  const directory = await scratch('cargo');
  const env = { ...process.env, ...directory.env, CARGO_TERM_COLOR: 'never' };
  const { output, status, timedOut } = await run('cargo', ['test', '--locked', '--no-fail-fast'], env, 1500);
  const result: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const [, passed, failed, ignored] of output.matchAll(
    /test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/g,
  )) {
    result.passed += Number(passed);
    result.failed += Number(failed);
    result.skipped += Number(ignored);
  }
  const complaints = [...(timedOut ? ['cargo test did not end within 1500 s'] : []), ...(await remains(directory))];
  if ((status !== 0 && result.failed === 0) || result.passed === 0 || complaints.length > 0) result.failed += 1;
  report('cargo test', result, (performance.now() - started) / 1000, complaints, output);
}

/** One uvu file. A comment `// deadline: N` in it gives more than the usual two minutes. */
async function uvuFile(path: string): Promise<void> {
  const started = performance.now();
  const source = await readFile(join(repository, path), 'utf8');
  const deadline = Number(/^\/\/ deadline: (\d+)$/m.exec(source)?.[1] ?? 120);
  const directory = await scratch(path);
  const env = {
    ...process.env,
    ...directory.env,
    NO_COLOR: '1',
    FORCE_COLOR: '0',
    NODE_NO_WARNINGS: '1',
    // No test makes a bridge in the machine's own network namespace unasked.
    KAPSEL_DEFAULT_NETWORK: 'none',
  };
  const { output, status, timedOut } = await run(process.execPath, [path], env, deadline);
  const complaints = [
    ...(timedOut ? [`it did not end within ${deadline} s: a hanging test or a handle left open`] : []),
    ...flaws(source, output, status),
    ...(await remains(directory)),
  ];
  const result = tally(output);
  if (complaints.length > 0 && result.failed === 0) result.failed = 1;
  report(path, result, (performance.now() - started) / 1000, complaints, output);
}

const wanted = (path: string) => patterns.length === 0 || patterns.some((pattern) => path.includes(pattern));

for (const [name, command, ...args] of checks) if (wanted(name)) await check(name, command, args, 900);
const files: string[] = [];
for await (const path of glob('test/**/*.test.ts', { cwd: repository }))
  if (!path.includes('/fixtures/')) files.push(path);
// Those that need nothing but Node first: a slip shows within seconds.
const quick = (path: string) => (/test\/(runner|unit|native|imports)/.test(path) ? 0 : 1);
files.sort((a, b) => quick(a) - quick(b) || a.localeCompare(b));
for (const path of files.filter((path) => quick(path) === 0 && wanted(path))) await uvuFile(path);
if (wanted('cargo test')) await cargoTest();
for (const path of files.filter((path) => quick(path) === 1 && wanted(path))) await uvuFile(path);

if (total.passed + total.failed === 0) {
  console.log(`no test matches ${patterns.join(' ')}`);
  total.failed = 1;
}
if (failures.length > 0) console.log(`failed: ${failures.join(', ')}`);
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
process.exitCode = total.failed > 0 ? 1 : 0;
