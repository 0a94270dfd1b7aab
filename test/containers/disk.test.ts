// A disk that is full, or not ours: one line, and nothing half-made. The small file system is mounted in a mount namespace
// of the test’s own.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { removeCgroups, scratch } from '../harness/engine.ts';

const t = suite('disks that refuse');
let directory: string;
const cgroupParent = `/${basename(scratch)}-disk`;

t.before(() => {
  directory = mkdtempSync(join(scratch, 'disk-'));
});

t.after(async () => {
  await removeCgroups(cgroupParent);
  rmSync(directory, { recursive: true, force: true });
});

/** Runs lines with `engine` and `image` at hand on a file system of its own; gives what they print. */
function onSmallDisk(options: string, lines: string): string {
  const code = `
    import { Engine } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)};
    import { readdirSync, writeFileSync, rmSync, statfsSync } from 'node:fs';
    const engine = new Engine({ root: '${directory}/root', runRoot: '${directory}-run', cgroupParent: '${cgroupParent}',
      defaultNetwork: 'none' });
    const image = 'host:bash';
    ${lines}
    await engine.close();
    rmSync(engine.runRoot, { recursive: true, force: true });`;
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    [
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      `mount -t tmpfs -o ${options} tmpfs ${directory} && exec "$@"`,
      'sh',
      process.execPath,
      '--input-type=module-typescript',
      '-e',
      code,
    ],
    { encoding: 'utf8', timeout: 60_000 },
  );
  assert.is(status, 0, stderr);
  return stdout.trim();
}

t('a full disk is told in one line, and leaves nothing', () => {
  const printed = onSmallDisk(
    'size=24m,nr_inodes=1000',
    `
    await engine.images.ensure(image);
    const before = readdirSync(engine.root + '/containers').length;
    // Every inode that is left, but for what the database needs to say so.
    const left = statfsSync(engine.root).ffree;
    for (let i = 0; i < left - 2; i++) writeFileSync(engine.root + '/tmp/' + i, '');
    const error = await engine.containers.run(image, { command: ['bash', '-c', 'exit 0'] }).catch((error) => error);
    console.log(error.code, error.exitCode, error.message.includes('\\n'));
    console.log(readdirSync(engine.root + '/containers').length - before, readdirSync(engine.runRoot + '/containers').length, (await engine.containers.list({ all: true })).length);
    for (let i = 0; i < left - 2; i++) rmSync(engine.root + '/tmp/' + i);
    console.log((await engine.containers.run(image, { command: ['bash', '-c', 'exit 7'] })).exitCode);`,
  );
  assert.is(printed, 'DISK_FULL 125 false\n0 0 0\n7');
});

t('a container that fills the disk hears of it, and others go on', () => {
  const printed = onSmallDisk(
    'size=24m',
    `
    const { exitCode, stderr } = await engine.containers.run(image, { command: ['bash', '-c', 'x=x; for i in {1..20}; do x=$x$x; done; while echo $x >> /full; do :; done; exit 3'] });
    console.log(exitCode, /No space left/.test(stderr));
    console.log((await engine.containers.run(image, { command: ['bash', '-c', 'exit 7'] })).exitCode);`,
  );
  assert.is(printed, '3 true\n7');
});

t.run();
