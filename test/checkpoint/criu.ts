// CRIU from Debian 13 (4.1) or the one after it (4.2), made once for all test runs: extracted, not installed, and started
// through its own loader, so that it works on this machine's files as if it were installed here. Debian 12's is too old.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, glob, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

const triple = process.arch === 'x64' ? 'x86_64-linux-gnu' : 'aarch64-linux-gnu';
const loader = process.arch === 'x64' ? 'ld-linux-x86-64.so.2' : 'ld-linux-aarch64.so.1';

/** A program that is CRIU: for KAPSEL_CRIU. */
export async function criu(suite: 'trixie' | 'forky'): Promise<string> {
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'kapsel-test');
  const root = join(cache, `criu-${suite}`);
  if (!existsSync(root)) {
    await mkdir(cache, { recursive: true });
    const half = await mkdtemp(`${root}.`);
    try {
      const tree = join(half, 'root');
      await execute('mmdebstrap', [
        '--quiet',
        '--mode=root',
        '--variant=extract',
        '--include=criu',
        // A mirror that stands still is as good: its signature is checked.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        suite,
        tree,
        await mirror(),
      ]);
      // Two test files may make it at once: the first one's stays.
      await rename(tree, root).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      });
    } finally {
      await rm(half, { recursive: true, force: true });
    }
  }
  const program = join(root, 'criu');
  const libraries = join(root, 'usr/lib', triple);
  const script = `#!/bin/sh\nexec '${libraries}/${loader}' --library-path '${libraries}' '${root}/usr/sbin/criu' "$@"\n`;
  const own = `${program}.${process.pid}`;
  await writeFile(own, script);
  await chmod(own, 0o755);
  await rename(own, program);
  return program;
}

/** Where this machine has its own packages from. */
async function mirror(): Promise<string> {
  const files = ['/etc/apt/sources.list'];
  for await (const file of glob('/etc/apt/sources.list.d/*')) files.push(file);
  const lines = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  const found = /^(?:URIs:|deb(?: \[.*?\])?)\s+(\S+\/debian)\/?(?:\s|$)/m.exec(lines.join('\n'));
  if (found === null) throw new Error('no Debian mirror in /etc/apt/sources.list or sources.list.d');
  return found[1]!;
}
