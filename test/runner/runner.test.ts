// The runner sees through each way in which uvu is green falsely.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { flaws, tally } from './tally.ts';

const t = suite('runner');

function judge(name: string): string[] {
  const path = new URL(`fixtures/${name}.test.ts`, import.meta.url).pathname;
  const { stdout, stderr, status } = spawnSync(process.execPath, [path], { encoding: 'utf8' });
  return flaws(readFileSync(path, 'utf8'), stdout + stderr, status ?? -1);
}

for (const name of ['before-throws', 'after-each-throws', 'forgotten-run', 'one-of-two-forgotten']) {
  t(`${name} is not believed`, () => assert.ok(judge(name).length > 0));
}

t('a good file is believed', () => assert.equal(judge('good'), []));

t("counts are read from uvu's last lines", () => {
  assert.equal(tally('  Total:     5\n  Passed:    3\n  Skipped:   1\n'), { passed: 3, failed: 2, skipped: 1 });
});

t('a test marked only is not believed', () => {
  const flaw = flaws(`t.${'only'}("x", () => 1); t.run();`, '  Total:     1\n  Passed:    1\n  Skipped:   0\n', 0);
  assert.is(flaw.length, 1);
});

t.run();
