// What the tests have left of what they made: in a machine that runs nothing else, everything that was not there before.

import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** The parents of the tests' cgroups, which stay as `/kapsel` does. */
const parents = /\/kapsel(-test|-vm)?$/;

function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** Cgroups, mounts and programs, a line each. */
function everything(): string[] {
  const cgroups = readdirSync('/sys/fs/cgroup', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `${entry.parentPath}/${entry.name}`)
    .filter((path) => !parents.test(path))
    .map((path) => `cgroup ${path}`);
  const mounts = readFileSync('/proc/self/mounts', 'utf8').trim().split('\n');
  // Threads of the kernel have no executable.
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => attempt(() => readlinkSync(`/proc/${pid}/exe`), '') !== '')
    .map((pid) => `process ${pid} ${attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'latin1'), '')}`);
  return [...cgroups, ...mounts.map((line) => `mount ${line}`), ...processes].map((line) => line.replaceAll('\0', ' '));
}

const before = new Set(everything());

/** What is there and was not when this module was loaded; what is just ending has some seconds for it. */
export async function remains(): Promise<string[]> {
  let left: string[] = [];
  for (let tries = 0; tries < 10; tries += 1) {
    left = everything().filter((line) => !before.has(line));
    if (left.length === 0) break;
    await setTimeout(500);
  }
  return left;
}
