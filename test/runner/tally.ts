// Reads what a uvu file printed, and sees through the ways in which uvu can be green falsely: a `before` that throws,
// an `after.each` that throws after a failure, a forgotten `.run()` (all of them exit with 0).

/** How many tests passed, failed and were skipped. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

function lastNumber(output: string, label: string): number | undefined {
  const found = [...output.matchAll(new RegExp(`^\\s*${label}:\\s+(\\d+)`, 'gm'))].at(-1);
  return found ? Number(found[1]) : undefined;
}

/** The counts of a uvu run, from the three lines at its end; nothing printed counts as nothing passed. */
export function tally(output: string): Tally {
  const total = lastNumber(output, 'Total') ?? 0;
  const passed = lastNumber(output, 'Passed') ?? 0;
  const skipped = lastNumber(output, 'Skipped') ?? 0;
  return { passed, failed: total - passed, skipped };
}

/** Why a run is not to be believed, a line each; nothing where it is. */
export function flaws(source: string, output: string, status: number): string[] {
  const found: string[] = [];
  const { passed, failed, skipped } = tally(output);
  const suites = source.match(/\bsuite(<[^(]*>)?\(/g)?.length ?? 0;
  const runs = source.match(/\.run\(\)/g)?.length ?? 0;
  if (status !== 0) found.push(`it exited with ${status}`);
  if (failed > 0) found.push(`${failed} of its tests did not pass`);
  if (passed + failed + skipped === 0) found.push('it ran no test: a `before` that threw, or a forgotten `.run()`');
  if (suites > 0 && runs < suites) found.push(`it has ${suites} suites and only ${runs} \`.run()\``);
  if (/\.only\(/.test(source)) found.push('it has a test marked `.only`: the others do not run');
  return found;
}
