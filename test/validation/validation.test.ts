// The OCI's validation programs, each a test of its own, against the executable. README.md says which of their assertions
// are not met and why.
// The first run builds them.
// deadline: 300

import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, scratch, type CommandResult } from '../harness/engine.ts';
import { runtimePath } from '../../src/native.ts';
import { exceptions, races } from './exceptions.ts';
import { cgroups, clean, names as containers } from './leftovers.ts';
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
  const before = await cgroups([]);
  t.before(async () => {
    const runtime = await wrapper();
    const env = { RUNTIME: runtime, TMPDIR: await folder('bundles') };
    const start = async (name: string) => {
      // A mount namespace of its own: one of them mounts what it does not unmount.
      const program = ['--mount', '--kill-child', join(path, name)];
      for (let tries = races.get(name) ?? 1; tries > 0; tries -= 1) {
        const result = await run('unshare', program, { cwd: path, env, signal: AbortSignal.timeout(60_000) });
        results.set(name, result);
        if (complaint(name, result) === undefined) return;
      }
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
  for (const name of all) {
    t(name, () => {
      const flaw = complaint(name, results.get(name)!);
      if (flaw !== undefined) throw new Error(flaw);
    });
  }
  t('nothing is left of any container', async () => {
    const left = await containers(join(scratch, 'root'));
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    const mounted = mounts.filter((line) => line.includes(scratch));
    const inCgroups = await cgroups(before);
    // What is left now is not left to the next test as well.
    await clean(inCgroups);
    assert.equal([...left, ...mounted, ...inCgroups], []);
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

/** What is wrong with what a program said: undefined where it says exactly what is expected of it. */
function complaint(name: string, { exitCode, stdout, stderr }: CommandResult): string | undefined {
  const excepted = exceptions.find((exception) => exception.program === name && exception.here);
  const blocks = stdout.split(/^(?=ok |not ok )/m);
  const failed = blocks.filter((block) => block.startsWith('not ok') && !/^not ok .*# (TODO|SKIP)/i.test(block));
  const said = failed.map((block) => block.split('\n')[0]!.replace(/^not ok \d+ - /, ''));
  const expected = excepted?.failed ?? [];
  const fits = (text: string, pattern: string | RegExp | undefined) =>
    typeof pattern === 'string' ? text === pattern : pattern?.test(text);
  const all = `${failed.join('')}${stderr}`;
  if (said.length !== expected.length || !said.every((text, index) => fits(text, expected[index]))) {
    return `of its tests, ${said.length} failed, and ${expected.length} were expected to:\n${all}`;
  }
  const status = excepted?.exitCode ?? 0;
  if (exitCode !== status) return `it exited with ${exitCode} and not with ${status}: ${all}`;
  return all.includes(excepted?.says ?? '') ? undefined : `it does not say ${excepted!.says}: ${all}`;
}

t.run();
