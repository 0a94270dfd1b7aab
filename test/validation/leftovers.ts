// What the programs' containers could leave: their cgroups and whoever is in them, and records of the runtime.

import { readFile, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const root = '/sys/fs/cgroup';
/** Parents that the programs choose; the runtime leaves an empty one in place where it is the topmost. */
const parents = ['testdir', 'cgrouptest', 'runtime-tools'];
/** The ids that they choose, which are the names of cgroups too. */
const id = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

/** The containers that a root of the runtime's knows. */
export async function names(path: string): Promise<string[]> {
  return (await readdir(path).catch(() => [])).filter((entry) => !entry.startsWith('@'));
}

async function children(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(path, entry.name));
}

/** Cgroups of such containers, but for those that there were before; an empty parent is none. */
export async function cgroups(before: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const hierarchy of await children(root)) {
    for (const path of await children(hierarchy)) {
      const name = path.slice(hierarchy.length + 1);
      if (id.test(name)) found.push(path);
      if (!parents.includes(name)) continue;
      const below = await children(path);
      if (below.length > 0 || (await members(path)).length > 0) found.push(path, ...below);
      // The topmost stays where it was, as Docker's does: it was made for this test.
      else await rmdir(path);
    }
  }
  return found.filter((path) => !before.includes(path));
}

async function members(path: string): Promise<number[]> {
  const text = await readFile(join(path, 'cgroup.procs'), 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean).map(Number);
}

/** Ends who is in them, and removes them. */
export async function clean(paths: string[]): Promise<void> {
  for (const path of paths.toReversed()) {
    for (let tries = 0; tries < 100; tries += 1) {
      for (const pid of await members(path)) process.kill(pid, 'SIGKILL');
      const gone = await rmdir(path).then(
        () => true,
        (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
      );
      if (gone) break;
      await setTimeout(20);
    }
  }
}
