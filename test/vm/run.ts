// `npm run test:vm`, once everything is installed: builds, boots and reports. See scripts/test-vm.mjs.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { boot, type Result } from './machine.ts';
import { build, disk, suite, type Plan, type Program } from './programs.ts';
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
const boots = [
  { layout: 'unified', programs: [suite('oci'), ...built.programs, suite('race')].filter(wanted), deadline: 1500 },
  {
    layout: 'legacy',
    programs: built.programs.filter(({ name }) => name === 'cgroups kernel').filter(wanted),
    deadline: 300,
  },
] as const;
const working = await mkdtemp(join(tmpdir(), 'kapsel-test-vm-'));
try {
  const tree = join(working, 'tree');
  await mkdir(tree);
  for (const { layout, programs } of boots) {
    const plan: Plan = { programs: programs, env: built.env };
    await writeFile(join(tree, `${layout}.json`), JSON.stringify(plan));
  }
  await disk(join(working, 'disk'), tree, built);
  await rm(tree, { recursive: true });
  for (const { layout, programs, deadline } of boots) {
    if (programs.length === 0) continue;
    const started = performance.now();
    const before = { ...total };
    const start = () => boot({ root, disk: join(working, 'disk'), layout, deadline, report });
    let fault = await start();
    // A machine that stands still as a whole, with no test failed, may be its emulator's doing: once.
    if (fault !== undefined && total.failed === before.failed) {
      console.log(`     ${layout} cgroups: ${fault}\n     Another machine begins anew.`);
      Object.assign(total, before);
      fault = await start();
    }
    console.log(`     ${layout} cgroups: ${((performance.now() - started) / 1000).toFixed(1)} s`);
    if (fault === undefined) continue;
    total.failed += 1;
    console.log(`FAIL ${layout} cgroups: ${fault}`);
  }
} finally {
  await rm(working, { recursive: true, force: true });
}
if (total.passed + total.failed === 0) {
  console.log(`no test matches ${patterns.join(' ')}`);
  total.failed = 1;
}
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
process.exitCode = total.failed > 0 ? 1 : 0;
