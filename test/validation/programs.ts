// The OCI's own validation programs, built from source by the machine's Go outside the repository, once.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const module = 'github.com/opencontainers/runtime-tools';
const version = 'v0.9.1-0.20260316125833-8a4db579f5c8';
/** What they need beside themselves: what runs inside, and what it runs on. */
const parts = ['runtimetest', 'rootfs-amd64.tar.gz'];

/** Why they cannot be built here, if they cannot. */
export async function missing(): Promise<string | undefined> {
  if (process.arch !== 'x64') return 'they bring a root file system for x86-64 only';
  const go = await execute('go', ['env', 'GOVERSION']).catch(() => undefined);
  const [, minor] = /^go1\.(\d+)/.exec(go?.stdout ?? '') ?? [];
  return Number(minor ?? 0) < 21 ? 'they are built with Go 1.21 or later' : undefined;
}

/** The directory of the programs. */
export async function directory(): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'kapsel-test');
  const complete = join(cache, `runtime-tools-${version}`);
  if (existsSync(complete)) return complete;
  await mkdir(cache, { recursive: true });
  const working = await mkdtemp(join(tmpdir(), 'kapsel-test-validation-'));
  try {
    await build(working, join(working, 'bin'));
    // Two test runs may build them at once: the name appears whole.
    const copy = join(cache, `.runtime-tools-${process.pid}`);
    await execute('cp', ['-r', join(working, 'bin'), copy]);
    await rename(copy, complete).catch(() => rm(copy, { recursive: true }));
  } finally {
    await rm(working, { recursive: true, force: true });
  }
  return complete;
}

async function build(working: string, bin: string): Promise<void> {
  await mkdir(bin);
  await writeFile(join(working, 'go.mod'), `module validation\n\ngo 1.21\n\nrequire ${module} ${version}\n`);
  const go = (args: string[]) =>
    execute('go', args, { cwd: working, env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod' } });
  await go(['build', '-o', `${bin}/`, `${module}/cmd/runtimetest`, `${module}/validation/...`]);
  const source = JSON.parse((await go(['list', '-m', '-json', module])).stdout) as { Dir: string };
  await copyFile(join(source.Dir, 'rootfs-amd64.tar.gz'), join(bin, 'rootfs-amd64.tar.gz'));
  await chmod(join(bin, 'rootfs-amd64.tar.gz'), 0o644);
}

/** The names of the programs. */
export async function names(path: string): Promise<string[]> {
  return (await readdir(path)).filter((name) => !parts.includes(name)).toSorted();
}
