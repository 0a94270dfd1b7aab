// `npm run pack -- [--partial] DIRECTORY`: the tarballs of a release, each for `npm publish TARBALL`; the packages of the architectures
// first. What is published differs from the clone in one thing: the package depends on those, of which npm installs the
// one that fits. The clone must not, for npm would look for them in the registry before they are there.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

interface Manifest {
  name: string;
  version: string;
  files: string[];
  [field: string]: unknown;
}

/** Fields that are about building, not about what is built. */
const ofTheClone = ['devDependencies', 'napi', 'scripts'];
const repository = new URL('..', import.meta.url).pathname;

function manifestOf(directory: string): Manifest {
  return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as Manifest;
}

function pack(directory: string, destination: string): string {
  const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', destination];
  const { status, stdout } = spawnSync('npm', args, { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) throw new Error(`npm pack of ${directory} ended with ${status}`);
  return join(destination, stdout.toString().trim());
}

/** The package of this clone as it is published, in a directory of its own. */
function stage(directory: string, main: Manifest, natives: readonly Manifest[]): void {
  const published = Object.fromEntries(Object.entries(main).filter(([field]) => !ofTheClone.includes(field)));
  const optionalDependencies = Object.fromEntries(natives.map(({ name, version }) => [name, version]));
  writeFileSync(
    join(directory, 'package.json'),
    `${JSON.stringify({ ...published, optionalDependencies }, null, 2)}\n`,
  );
  for (const name of ['README.md', 'LICENSE', ...main.files]) {
    cpSync(join(repository, name), join(directory, name), { recursive: true });
  }
}

/** Packs every architecture that is built; where not `all` of them have to be, it is no release, but will do to try it. */
function release(destination: string, all: boolean): string[] {
  const main = manifestOf(repository);
  const directories = readdirSync(join(repository, 'npm')).map((name) => join(repository, 'npm', name));
  const natives = directories.map((directory) => ({ directory, ...manifestOf(directory) }));
  const other = natives.find(({ version }) => version !== main.version);
  if (other) throw new Error(`${other.name} is of version ${other.version}, and ${main.name} of ${main.version}`);
  const isBuilt = ({ directory, files }: (typeof natives)[number]) =>
    files.every((name) => existsSync(join(directory, name)));
  const missing = natives.filter((one) => !isBuilt(one)).map(({ name }) => name);
  if (all && missing.length > 0) throw new Error(`not built: ${missing.join(', ')}`);
  const half = mkdtempSync(join(repository, '.cache', 'pack-'));
  try {
    stage(half, main, natives);
    mkdirSync(destination, { recursive: true });
    return [...natives.filter(isBuilt).map(({ directory }) => directory), half].map((one) => pack(one, destination));
  } finally {
    rmSync(half, { recursive: true, force: true });
  }
}

const { values, positionals } = parseArgs({ options: { partial: { type: 'boolean' } }, allowPositionals: true });
try {
  const [destination] = positionals;
  if (destination === undefined) throw new Error('where to? npm run pack -- DIRECTORY');
  mkdirSync(join(repository, '.cache'), { recursive: true });
  for (const tarball of release(resolve(destination), !values.partial)) console.log(tarball);
} catch (error) {
  console.error(`kapsel: ${(error as Error).message}`);
  process.exitCode = 1;
}
