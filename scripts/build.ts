// Builds everything that ships for this architecture: the static executable, the addon, and the bundled TypeScript.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, rename } from 'node:fs/promises';
import { join } from 'node:path';

const repository = new URL('..', import.meta.url).pathname;
const { triple, name } = {
  x64: { triple: 'x86_64-unknown-linux-gnu', name: 'linux-x64-gnu' },
  arm64: { triple: 'aarch64-unknown-linux-gnu', name: 'linux-arm64-gnu' },
}[process.arch as 'x64' | 'arm64'];
const target = process.env.CARGO_TARGET_DIR ?? join(repository, 'target');
const directory = join(repository, 'npm', name);

async function run(command: string, args: string[], env: Record<string, string> = {}): Promise<void> {
  const child = spawn(command, args, { cwd: repository, stdio: 'inherit', env: { ...process.env, ...env } });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
}

/** A running container may have the file open: a new one takes its name, the old one lives on under the old inode. */
async function install(from: string, to: string): Promise<void> {
  await copyFile(from, `${to}.new`);
  await chmod(`${to}.new`, 0o755);
  await rename(`${to}.new`, to);
}

/** Whether the C library understands packed relocations (glibc 2.36): they are written into the executable's start. */
function relocatesItself(): boolean {
  const { glibcVersionRuntime = '0.0' } = (process.report.getReport() as { header: Record<string, string> }).header;
  const [major, minor] = glibcVersionRuntime.split('.').map(Number);
  return major! > 2 || (major === 2 && minor! >= 36);
}

async function executable(): Promise<void> {
  // crt-static: the monitor starts without a dynamic loader and runs where there is no libc.
  // muldefs: what crates/runtime/src/c_library.rs defines in the C library's place it may define too.
  const flags = ['-C target-feature=+crt-static', '-C link-arg=-Wl,-z,muldefs'];
  // Rust's own linker, which it uses on x86-64 only, can leave sections out that the C library's start files name.
  if (process.arch === 'x64') {
    const script = '-C link-arg=-Wl,-T,crates/runtime/no-unwind-tables.ld';
    // With a script of ours the linker keeps the symbols unless it is told twice.
    flags.push('-C link-arg=-Wl,--no-eh-frame-hdr', script, '-C link-arg=-Wl,--strip-all');
    if (relocatesItself()) flags.push('-C link-arg=-Wl,-z,pack-relative-relocs');
  }
  const name = `CARGO_TARGET_${triple.toUpperCase().replaceAll('-', '_')}_RUSTFLAGS`;
  await run('cargo', ['build', '--release', '--locked', '--package', 'kapsel-runtime', '--target', triple], {
    [name]: flags.join(' '),
  });
  await install(join(target, triple, 'release', 'kapsel-runtime'), join(directory, 'kapsel-runtime'));
}

async function addon(): Promise<void> {
  const out = join(target, 'addon');
  const options = [
    '--platform',
    '--release',
    '--no-js',
    '--manifest-path',
    'crates/node/Cargo.toml',
    '--output-dir',
    out,
  ];
  await run('node_modules/.bin/napi', ['build', ...options, '--', '--locked']);
  await install(join(out, `kapsel.${name}.node`), join(directory, `kapsel.${name}.node`));
}

async function binaries(): Promise<void> {
  await copyFile(join(repository, 'LICENSE'), join(directory, 'LICENSE'));
  await executable();
  await addon();
}

try {
  await Promise.all([binaries(), run(process.execPath, ['scripts/bundle.ts'])]);
} catch (error) {
  console.error(`kapsel: ${(error as Error).message}`);
  process.exitCode = 1;
}
