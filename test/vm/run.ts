// `npm run test:vm`, once everything is installed: builds, boots and reports. See scripts/test-vm.mjs.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { boot, type Result } from './machine.ts';
import { build, disk, half, suite, type Plan, type Program } from './programs.ts';
import { debianRoot } from './root.ts';

const total = { passed: 0, failed: 0, skipped: 0 };

function report({ name, passed, failed, skipped, seconds, notes, output }: Result): void {
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  const mark = failed > 0 ? 'FAIL' : 'ok  ';
  console.log(`${mark} ${name}  ${passed} passed, ${failed} failed, ${skipped} skipped (${seconds.toFixed(1)} s)`);
  for (const note of notes) console.log(`     ${note}`);
  if (output !== '') console.log(output.trimEnd().replace(/^/gm, '     | '));
}

const root = await debianRoot();
const built = await build();
const patterns = process.argv.slice(2);
const wanted = ({ name }: Program) => patterns.length === 0 || patterns.some((pattern) => name.includes(pattern));
const unified = [suite('oci'), suite('race'), ...built.programs].filter(wanted);
const legacy = built.programs.filter(({ name }) => name === 'cgroups kernel').filter(wanted);
/** What a machine of one processor cannot show. */
const several = built.programs
  .map((program) => ({ ...program, tests: program.tests.filter((test) => test.includes('the_way_in_may_be')) }))
  .filter((program) => program.tests.length > 0 && wanted(program));
/** Two at a time: an emulator uses one processor at a time, and is quicker where it has only one to emulate. */
const machines = [
  { name: 'unified-1', layout: 'unified', processors: 1, programs: half(unified, 0), deadline: 900 },
  { name: 'unified-2', layout: 'unified', processors: 1, programs: half(unified, 1), deadline: 900 },
  { name: 'legacy', layout: 'legacy', processors: 1, programs: legacy, deadline: 300 },
  { name: 'several', layout: 'unified', processors: 2, programs: several, deadline: 300 },
] as const;
const working = await mkdtemp(join(tmpdir(), 'kapsel-test-vm-'));
try {
  const tree = join(working, 'tree');
  await mkdir(tree);
  for (const { name, programs } of machines) {
    const plan: Plan = { programs, env: built.env };
    await writeFile(join(tree, `${name}.json`), JSON.stringify(plan));
  }
  await disk(join(working, 'disk'), tree, built);
  await rm(tree, { recursive: true });
  const waiting = machines.filter(({ programs }) => programs.length > 0);
  const work = async () => {
    for (let machine = waiting.shift(); machine; machine = waiting.shift()) {
      const { name, layout, processors, deadline } = machine;
      const started = performance.now();
      const failed = total.failed;
      const options = { layout, plan: name, processors, deadline, report };
      const start = () => boot({ root, disk: join(working, 'disk'), ...options });
      let fault = await start();
      // A machine that stands still as a whole may be its emulator's doing: once. What it has reported counts twice.
      if (fault !== undefined && total.failed === failed) {
        console.log(`     ${name}: ${fault}\n     Another machine begins anew.`);
        fault = await start();
      }
      console.log(`     ${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
      if (fault === undefined) continue;
      total.failed += 1;
      console.log(`FAIL ${name}: ${fault}`);
    }
  };
  await Promise.all([work(), work()]);
} finally {
  await rm(working, { recursive: true, force: true });
}
if (total.passed + total.failed === 0) {
  console.log(`no test matches ${patterns.join(' ')}`);
  total.failed = 1;
}
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
process.exitCode = total.failed > 0 ? 1 : 0;
