// `kapsel plugins …`: the list of plugins in the user's data directory, which oclif's core reads, kept with the user's
// own npm. What a plugin does is oclif's business (cli/oclif.ts).
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { print, printLine } from '../ui/output.ts';
import { table } from '../ui/table.ts';
import { each } from './each.ts';

interface Plugin {
  name: string;
  /** `user`: npm put it below the data directory. `link`: it lies where its author works on it. */
  type: 'user' | 'link';
  root?: string;
}

interface Manifest {
  name?: string;
  version?: string;
  private?: boolean;
  dependencies?: Record<string, string>;
  oclif?: { schema?: number; plugins?: Plugin[] };
}

export const pluginsList = defineCommand({
  name: 'plugins',
  summary: 'List installed plugins',
  flags: {},
  arguments: [],
  examples: [{ command: 'plugins', description: 'All of them' }],
  async run() {
    const rows = installed(read(directory())).map((plugin) => {
      const root = plugin.root ?? join(directory(), 'node_modules', plugin.name);
      return [plugin.name, read(root).version ?? 'missing', plugin.type, root];
    });
    print(table([['NAME', 'VERSION', 'TYPE', 'PATH'], ...rows]));
  },
});

export const pluginsInstall = defineCommand({
  name: 'plugins install',
  summary: 'Install a plugin with npm',
  flags: {},
  arguments: [{ name: 'PACKAGE', required: true }],
  examples: [{ command: 'plugins install kapsel-plugin-example', description: 'Anything npm can install' }],
  async run({ args: [source = ''] }) {
    const before = read(directory()).dependencies ?? {};
    if (Object.keys(read(directory())).length === 0) write({ private: true });
    npm('install', '--save-exact', source);
    const after = read(directory());
    const name = Object.entries(after.dependencies ?? {}).find(
      ([name, version]) => before[name] !== version || source === name || source.startsWith(`${name}@`),
    )?.[0];
    if (name === undefined) throw new Failure(`npm has installed ${source} under no name: look into ${directory()}`);
    if (!read(join(directory(), 'node_modules', name)).oclif) {
      npm('uninstall', name);
      throw new Failure(`${name} is no plugin: its package.json has no "oclif"`);
    }
    add({ name, type: 'user' });
    printLine(name);
  },
});

export const pluginsLink = defineCommand({
  name: 'plugins link',
  summary: 'Use a plugin from a directory of yours',
  flags: {},
  arguments: [{ name: 'DIRECTORY', required: true }],
  examples: [{ command: 'plugins link .', description: 'While you write one' }],
  async run({ args: [path = ''] }) {
    const root = resolve(path);
    const { name, oclif } = read(root);
    if (name === undefined || oclif === undefined) {
      throw new Failure(`${root} is no plugin: there is no package.json with a "name" and "oclif"`);
    }
    add({ name, type: 'link', root });
    printLine(name);
  },
});

export const pluginsUninstall = defineCommand({
  name: 'plugins uninstall',
  summary: 'Remove plugins',
  flags: {},
  arguments: [{ name: 'PLUGIN', required: true, multiple: true }],
  examples: [{ command: 'plugins uninstall kapsel-plugin-example', description: 'A linked directory stays as it is' }],
  async run({ args }) {
    return each(args, async (name) => {
      const manifest = read(directory());
      const plugin = installed(manifest).find((candidate) => candidate.name === name);
      if (!plugin) throw new Failure(`no such plugin: ${name}`);
      if (plugin.type === 'user') npm('uninstall', name);
      const left = read(directory());
      write(
        withPlugins(
          left,
          installed(left).filter((candidate) => candidate.name !== name),
        ),
      );
      printLine(name);
    });
  },
});

/** Where oclif looks: `$XDG_DATA_HOME/kapsel`. */
function directory(): string {
  const { XDG_DATA_HOME, HOME } = process.env;
  if (XDG_DATA_HOME) return join(XDG_DATA_HOME, 'kapsel');
  if (HOME) return join(HOME, '.local', 'share', 'kapsel');
  throw new Failure('neither XDG_DATA_HOME nor HOME is set: plugins have no place');
}

/** The package.json in there, empty where there is none. */
function read(root: string): Manifest {
  try {
    return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new Failure(`${join(root, 'package.json')} cannot be read: ${(error as Error).message}`);
  }
}

function write(manifest: Manifest): void {
  mkdirSync(directory(), { recursive: true });
  const path = join(directory(), 'package.json');
  writeFileSync(`${path}.new`, `${JSON.stringify(manifest, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

function installed(manifest: Manifest): Plugin[] {
  return manifest.oclif?.plugins ?? [];
}

function withPlugins(manifest: Manifest, plugins: Plugin[]): Manifest {
  return { private: true, ...manifest, oclif: { schema: 1, ...manifest.oclif, plugins } };
}

function add(plugin: Plugin): void {
  const manifest = read(directory());
  const others = installed(manifest).filter((candidate) => candidate.name !== plugin.name);
  write(withPlugins(manifest, [...others, plugin]));
}

/** What npm has to say goes to stderr: stdout is the result. */
function npm(...args: string[]): void {
  const { status, error } = spawnSync('npm', [...args, '--prefix', directory(), '--no-audit', '--no-fund'], {
    stdio: ['ignore', 2, 2],
  });
  if (error) throw new Failure(`npm cannot be run: ${error.message}: install npm, or link a directory instead`);
  if (status !== 0) throw new Failure(`npm ${args.join(' ')} ended with ${status}`);
}
