// The OCI's validation programs, each a test of its own, against the executable. README.md says which of their assertions
// are not met and why.
// The first run builds them.
// deadline: 300

import { chmod, mkdir, readFile, readdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, scratch, type CommandResult } from '../harness/engine.ts';
import { runtimePath } from '../../src/native.ts';
import { exceptions } from './exceptions.ts';
import { directory, missing, names } from './programs.ts';

const t = suite('validation');
const why = await missing();
const results = new Map<string, CommandResult>();
/** As many as wait for something at once: most of their time is spent in sleep. */
const abreast = 6;

if (why !== undefined) t.skip(`the validation programs are not run: ${why}`, () => undefined);
else {
  const path = await directory();
  const all = await names(path);
  t.before(async () => {
    const runtime = await wrapper();
    const env = { RUNTIME: runtime, TMPDIR: await folder('bundles') };
    const start = async (name: string) => {
      // A mount namespace of its own: one of them mounts what it does not unmount.
      const program = ['--mount', '--kill-child', join(path, name)];
      results.set(name, await run('unshare', program, { cwd: path, env, signal: AbortSignal.timeout(60_000) }));
    };
    // Those on cgroups use the same names.
    const queue = all.filter((name) => !usesCgroups(name));
    const workers = Array.from({ length: abreast }, async () => {
      for (let name = queue.pop(); name !== undefined; name = queue.pop()) await start(name);
    });
    workers.push(
      (async () => {
        for (const name of all.filter(usesCgroups)) await start(name);
      })(),
    );
    await Promise.all(workers);
  });
  for (const name of all) t(name, () => judge(name, results.get(name)!));
  t('nothing is left of any container', async () => {
    const left = await readdir(join(scratch, 'root')).catch(() => []);
    assert.equal(
      left.filter((entry) => !entry.startsWith('@')),
      [],
    );
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    assert.equal(
      mounts.filter((line) => line.includes(scratch)),
      [],
    );
  });
  t.after(async () => {
    // The parents that the programs chose; containers' own cgroups are gone, or this fails to remove them.
    for (const hierarchy of await readdir('/sys/fs/cgroup')) {
      for (const name of ['testdir', 'cgrouptest', 'runtime-tools'])
        await rmdir(join('/sys/fs/cgroup', hierarchy, name)).catch(() => undefined);
    }
  });
}

function usesCgroups(name: string): boolean {
  return name.includes('cgroups') || name.startsWith('delete');
}

/** The executable, with a root of this test's own. */
async function wrapper(): Promise<string> {
  const path = join(scratch, 'runtime');
  await writeFile(path, `#!/bin/sh\nexec ${runtimePath()} --root ${join(scratch, 'root')} "$@"\n`);
  await chmod(path, 0o755);
  return path;
}

async function folder(name: string): Promise<string> {
  await mkdir(join(scratch, name));
  return join(scratch, name);
}

/** Fails with the first thing that a program complains of and that is not excepted. */
function judge(name: string, { exitCode, stdout, stderr }: CommandResult): void {
  const excepted = exceptions.filter((exception) => exception.program === name && exception.here);
  const isExcepted = (text: string) => excepted.some((exception) => exception.says.test(text));
  const blocks = stdout.split(/^(?=ok |not ok )/m);
  const failed = blocks.filter((block) => block.startsWith('not ok') && !/^not ok .*# (TODO|SKIP)/i.test(block));
  for (const block of failed) {
    const said = block.split('\n')[0]!.replace(/^not ok \d+ - /, '');
    if (!isExcepted(said)) throw new Error(block + stderr);
  }
  // Some say nothing where all is well.
  if (exitCode !== 0 && !isExcepted(stderr)) throw new Error(`it exited with ${exitCode}: ${stderr}`);
}

t.run();
