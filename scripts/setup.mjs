// Brings what this machine is missing before `npm start` and `npm test`: a compiler, npm packages, the built binaries.
// Plain JavaScript that any Node ≥ 20 runs, since the supported Node itself is among the things it installs.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export const repository = new URL('..', import.meta.url).pathname;
/** The Node this project supports, from its own dev dependency. */
export const node = join(repository, 'node_modules/.bin/node');

/** Ends the script with one line that says what to do. */
function fail(message) {
  console.error(`kapsel: ${message}`);
  process.exit(1);
}

function say(message) {
  console.error(`kapsel: ${message}`);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: repository, stdio: ['ignore', 2, 2], ...options });
  if (result.error) fail(`cannot run ${command}: ${result.error.message}`);
  return result.status === 0;
}

/** Whether a program is in PATH (or the sbin directories, which an ordinary user's PATH may lack). */
function has(program) {
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Installs the Debian packages of which something is missing.
 * @param {{ package: string, program?: string, file?: string, why: string }[]} wanted
 */
export function debianPackages(wanted) {
  const missing = wanted.filter((one) => (one.program ? !has(one.program) : !existsSync(one.file)));
  if (missing.length === 0) return;
  const names = missing.map((one) => one.package);
  for (const one of missing) say(`Debian package ${one.package} is missing: ${one.why}`);
  const install = `apt-get install -y --no-install-recommends ${names.join(' ')}`;
  if (!has('apt-get')) fail(`install these programs with this system's package manager: ${names.join(', ')}`);
  if (process.getuid() !== 0) fail(`not root, so run this first: sudo apt-get update && sudo ${install}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  say(`installing: ${names.join(' ')}`);
  if (run('apt-get', ['update', '-qq'], { env }) && run('apt-get', [...install.split(' ').slice(1), '-qq'], { env }))
    return;
  fail(`the packages could not be installed; try by hand: apt-get update && ${install}`);
}

/** A digest of the names, sizes and times of every file below the given paths: cheap, and enough to see a change. */
function fingerprint(paths) {
  const hash = createHash('sha256');
  const walk = (path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat) return;
    if (stat.isDirectory()) {
      for (const name of readdirSync(path).sort()) walk(join(path, name));
    } else hash.update(`${path}\0${stat.size}\0${stat.mtimeMs}\n`);
  };
  for (const path of paths) walk(join(repository, path));
  return hash.digest('hex');
}

/** Runs `make` unless `stamp` says that it ran for exactly these inputs and its outputs are there. */
function once(stamp, inputs, outputs, make) {
  const path = join(repository, stamp);
  const now = fingerprint(inputs);
  const done = existsSync(path) && readFileSync(path, 'utf8') === now;
  if (done && outputs.every((output) => existsSync(join(repository, output)))) return;
  make();
  writeFileSync(path, fingerprint(inputs));
}

const architecture = { x64: 'linux-x64-gnu', arm64: 'linux-arm64-gnu' }[process.arch];

/** Everything `kapsel` needs to run from this clone. The second time it costs a few milliseconds. */
export function setup() {
  if (process.platform !== 'linux' || !architecture) {
    fail(`this is ${process.platform} on ${process.arch}; kapsel runs on Linux, x86-64 and arm64`);
  }
  if (Number(process.versions.node.split('.')[0]) < 20)
    fail(`Node ${process.versions.node} is too old; install Node 20 or later`);
  if (!has('cargo')) fail('Rust is missing: install it from https://rustup.rs, then run this again');
  debianPackages([
    { package: 'gcc', program: 'cc', why: 'Rust links with it, and SQLite is C' },
    { package: 'libc6-dev', file: '/usr/include/stdlib.h', why: 'the headers and the static C library' },
  ]);
  once('node_modules/.kapsel-packages', ['package.json', 'package-lock.json'], ['node_modules/.bin/node'], () => {
    say('installing the npm packages (among them the Node that kapsel supports)');
    // Not `npm ci`: it refuses the lock file where a registry lacks another platform's optional package.
    if (!run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']))
      fail('npm install failed; its own message is above');
  });
  const inputs = ['crates', 'src', 'scripts', 'Cargo.toml', 'Cargo.lock', 'package-lock.json', '.cargo'];
  const binaries = `npm/${architecture}`;
  const outputs = ['dist/kapsel.js', `${binaries}/kapsel-runtime`, `${binaries}/kapsel.${architecture}.node`];
  once('node_modules/.kapsel-build', inputs, outputs, () => {
    say('building (two to five minutes the first time)');
    if (!run(node, ['scripts/build.ts'])) fail('the build failed; its own message is above');
  });
}

/** Runs a program of this project with the supported Node, this terminal and these arguments; ends with its exit code. */
export function become(args) {
  const path = [join(repository, 'node_modules/.bin'), process.env.PATH].join(delimiter);
  const result = spawnSync(node, args, { stdio: 'inherit', env: { ...process.env, PATH: path } });
  if (result.signal) process.kill(process.pid, result.signal);
  process.exit(result.status ?? 1);
}
