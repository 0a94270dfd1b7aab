// A folder for each test file, and what is left when the file has ended: processes are found by the folder's name in
// their environment, cgroups by its tag in theirs. A leftover is a failure, and is cleaned so that the next file starts clean.

import { mkdtemp, readFile, readdir, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

/** The variable that names the folder to the file and to everything it starts. */
const variable = 'KAPSEL_TEST_SCRATCH';

/** A test file's own folder. */
export interface Scratch {
  path: string;
  /** Part of the name of every cgroup that the file makes. */
  tag: string;
  env: Record<string, string>;
}

/** Makes the folder for one test file. */
export async function scratch(name: string): Promise<Scratch> {
  const path = await mkdtemp(join(tmpdir(), `kapsel-test-${basename(name).split('.')[0]}-`));
  return { path, tag: basename(path), env: { [variable]: path } };
}

async function processes(path: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const environment = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
    if (environment.split('\0').includes(`${variable}=${path}`)) found.push(Number(name));
  }
  return found;
}

async function cgroups(tag: string): Promise<string[]> {
  const found: string[] = [];
  const walk = async (directory: string, depth: number): Promise<void> => {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (!entry.isDirectory()) continue;
      const path = join(directory, entry.name);
      const inside = path.includes(tag);
      if (inside || depth < 3) await walk(path, depth + 1);
      if (inside) found.push(path);
    }
  };
  await walk('/sys/fs/cgroup', 0);
  return found;
}

/** What is left of a file that has ended, a line each; all of it is ended and removed. */
export async function remains(scratch: Scratch): Promise<string[]> {
  const complaints: string[] = [];
  let left = await processes(scratch.path);
  // A monitor that is just ending is no leftover.
  for (let tries = 0; left.length > 0 && tries < 20; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    left = await processes(scratch.path);
  }
  for (const pid of left) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
    if (command === '') continue;
    complaints.push(`left a process: ${pid} ${command.replaceAll('\0', ' ').trim()}`);
    process.kill(pid, 'SIGKILL');
  }
  for (const path of await cgroups(scratch.tag)) {
    if (
      !(await rmdir(path).then(
        () => true,
        () => false,
      ))
    )
      await new Promise((resolve) => setTimeout(resolve, 100));
    await rmdir(path).catch(() => undefined);
    complaints.push(`left a cgroup: ${path}`);
  }
  // Rust's tests share a parent, which the crate leaves in place as it leaves /kapsel.
  for (const hierarchy of await readdir('/sys/fs/cgroup').catch(() => [])) {
    await rmdir(join('/sys/fs/cgroup', hierarchy, 'kapsel-test')).catch(() => undefined);
  }
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .filter((line) => line.includes(scratch.path));
  complaints.push(...mounts.map((line) => `left a mount: ${line.split(' ')[4]}`));
  if (mounts.length === 0) await rm(scratch.path, { recursive: true, force: true });
  return complaints;
}
