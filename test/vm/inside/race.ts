// Which starts `/bin/true` in a container with a cgroup and limits sooner: `kapsel-runtime run` or Debian's `crun run`.
// Interleaved, so that both meet the same load. The ratio is printed, not judged: emulation is no benchmark.

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const directory = mkdtempSync(join(tmpdir(), 'kapsel-test-race-'));
const runtimes = { kapsel: process.env.KAPSEL_RUNTIME as string, crun: '/usr/bin/crun' };
const rounds = 5;
const runs = 3;

/** What `crun spec` writes, with `/bin/true` and limits. */
function bundle(): void {
  mkdirSync(join(directory, 'rootfs/bin'), { recursive: true });
  copyFileSync('/bin/busybox', join(directory, 'rootfs/bin/busybox'));
  symlinkSync('busybox', join(directory, 'rootfs/bin/true'));
  assert.is(spawnSync('crun', ['spec'], { cwd: directory }).status, 0);
  const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8'));
  config.process.terminal = false;
  config.process.args = ['/bin/true'];
  Object.assign(config.linux.resources, { memory: { limit: 64 << 20 }, pids: { limit: 64 }, cpu: { shares: 512 } });
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
}

/** Milliseconds of one of several runs in a row, started by a shell: Node's own work is not measured. */
function race(name: keyof typeof runtimes): number {
  const script = `for run in $(seq ${runs}); do "$0" --root ${directory}/${name} run --bundle ${directory} ${name}$run; done`;
  const started = performance.now();
  const { status, stderr } = spawnSync('sh', ['-ec', script, runtimes[name]], { encoding: 'utf8' });
  assert.is(status, 0, `${name}: ${stderr}`);
  return (performance.now() - started) / runs;
}

const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;

const t = suite('race');

t.after(() => rmSync(directory, { recursive: true, force: true }));

t('both run /bin/true', () => {
  bundle();
  const times: Record<keyof typeof runtimes, number[]> = { kapsel: [], crun: [] };
  for (let round = 0; round <= rounds; round += 1) {
    for (const name of ['kapsel', 'crun'] as const) {
      const time = race(name);
      // The first fills the caches.
      if (round > 0) times[name].push(time);
    }
  }
  const [kapsel, crun] = [median(times.kapsel), median(times.crun)];
  const ratio = (kapsel / crun).toFixed(2);
  console.log(`\n# run /bin/true: kapsel ${kapsel.toFixed(0)} ms, crun ${crun.toFixed(0)} ms, ratio ${ratio}`);
});

t.run();
