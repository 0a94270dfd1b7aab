// What the virtual machine runs: the Rust test programs, the executable they test and Node with the suites of `inside`,
// on a disk of their own, at the paths that they have here.

import { copyFile, cp, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { command, fileSystem } from './root.ts';

const repository = new URL('../..', import.meta.url).pathname.replace(/\/$/, '');
const platform = 'linux-x64-gnu';

/** The packages whose tests ask something of the kernel, those that take longest first. */
const crates = ['runtime', 'cgroups', 'sandbox', 'seccomp', 'storage'];

/**
 * Emulation is slow: programs that only compute are left out (no test of theirs is named), and
 * tests that only compute or repeat.
 */
const omitted: Record<string, string[]> = {
  'runtime property': [],
  'sandbox property': [],
  'seccomp property': [],
  'storage units': [],
  'storage differential': [],
  'storage hostile': [],
  'storage host': [],
  'storage layer': [],
  'storage compress': [],
  'storage fuzz': [],
  'storage memory': [],
  'storage recipe': [],
  'storage round_trip': [],
  'storage whiteouts': [],
  // Compiled against libseccomp: there is no compiler.
  'seccomp filter': ['libseccomp::'],
  'cgroups units': ['shares_become_weights', 'malformed'],
  'sandbox isolation': ['a_hundred_starts'],
  // Races with somebody on another processor, which there is not.
  'storage changes': ['what_turns_into_a_link'],
  'sandbox escapes': ['keeps_changing'],
  'sandbox escapes_hooks': ['keeps_changing'],
  'sandbox escapes_proc': ['keeps_changing'],
  // Kills at many moments; many wrong documents; many at once; megabytes through pipes within a time.
  'runtime oci': ['crash::', 'a_creator_killed', 'a_remover_killed', 'types::', 'swapped'],
  'runtime monitor': ['crash::', 'sixty_four_at_once', 'grow_with_its_output', 'streams::'],
};

/** What the suites import. */
const modules = ['uvu', 'dequal', 'diff', 'kleur', 'mri', 'sade'];

/** A program that ends with 0 where all of its tests pass. */
export interface Program {
  /** `CRATE TARGET`, or the name of a suite. */
  name: string;
  path: string;
  args: string[];
  /** The names of its tests, which follow the arguments; none are named where it runs all that it has. */
  tests: string[];
  /** Where it starts: Cargo starts a test in its package's directory. */
  directory: string;
}

/** What `inside/run.ts` is told. */
export interface Plan {
  programs: Program[];
  env: Record<string, string>;
}

export interface Built {
  programs: Program[];
  /** Files to be copied. */
  files: string[];
  env: Record<string, string>;
}

interface Message {
  reason: string;
  executable: string | null;
  manifest_path: string;
  profile: { test: boolean };
  target: { name: string; kind: string[] };
}

const order = ({ name }: Program) => crates.indexOf(name.split(' ')[0] as string);

/** Those of a program that are not omitted. */
async function tests(name: string, path: string): Promise<string[]> {
  const skipped = omitted[name];
  if (skipped?.length === 0) return [];
  const list = await command(path, [
    '--list',
    '--format=terse',
    ...(skipped ?? []).flatMap((test) => ['--skip', test]),
  ]);
  return [...list.matchAll(/^(\S+): test$/gm)].map(([, test]) => test as string);
}

/** Every other test of each, so that two machines have as much to do. */
export function half(programs: readonly Program[], place: 0 | 1): Program[] {
  const isMine = (at: number) => at % 2 === place;
  return programs.flatMap((program, at) => {
    if (program.tests.length === 0) return isMine(at) ? [program] : [];
    // Of an odd number of tests, neighbours give the one more to different machines.
    const tests = program.tests.filter((_, number) => isMine(at + number));
    return tests.length > 0 ? [{ ...program, tests }] : [];
  });
}

/** Builds the test programs; lists them with what they need. */
export async function build(): Promise<Built> {
  const selected = crates.flatMap((name) => ['-p', `kapsel-${name}`]);
  const options = ['--locked', '--no-run', '--message-format=json', ...selected];
  const output = await command('cargo', ['test', ...options], { cwd: repository });
  const artifacts = output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Message)
    .filter(({ reason, executable }) => reason === 'compiler-artifact' && executable !== null);
  const programs = await Promise.all(
    artifacts
      .filter(({ profile }) => profile.test)
      .map(({ executable, manifest_path: manifest, target }) => ({
        directory: join(manifest, '..'),
        path: executable as string,
        target: target.kind[0] === 'test' ? target.name : 'units',
      }))
      .map(async ({ directory, path, target }) => {
        const name = `${basename(directory)} ${target}`;
        return { name, directory, path, args: ['--exact'], tests: await tests(name, path) };
      }),
  );
  // The sandbox's tests build their example themselves; in the machine there is no compiler, and it must be static.
  const example = ['rustc', '--locked', '-p', 'kapsel-sandbox', '--example', 'sandbox'];
  await command('cargo', [...example, '--', '-C', 'target-feature=+crt-static'], { cwd: repository });
  const examples = artifacts.filter(({ profile }) => !profile.test).map(({ executable }) => executable as string);
  const runtime = process.env.KAPSEL_RUNTIME ?? join(repository, 'npm', platform, 'kapsel-runtime');
  return {
    programs: programs
      .filter(({ tests }) => tests.length > 0)
      .sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name)),
    files: [...programs.map(({ path }) => path), ...examples, runtime],
    // What is built is there: Cargo has nothing to do. The shipped executable is tested, not the one for debugging.
    env: { CARGO: 'true', KAPSEL_RUNTIME: runtime, RUST_BACKTRACE: '1' },
  };
}

/** A suite of `inside`, run by Node. */
export function suite(name: string): Program {
  const path = join(repository, 'test/vm/inside', `${name}.ts`);
  return { name, path: join(repository, 'node_modules/node/bin/node'), args: [path], tests: [], directory: repository };
}

/** Writes the disk: `files` has everything by its absolute path, `directories` lists what is to be seen at its own place. */
export async function disk(image: string, tree: string, built: Built): Promise<void> {
  const files = join(tree, 'files');
  const target = join(built.programs[0]?.path ?? '', '../../..'); /* DIR/debug/deps/NAME */
  for (const path of built.files) {
    await mkdir(join(files, path, '..'), { recursive: true });
    await copyFile(path, join(files, path));
  }
  for (const { directory } of built.programs) await mkdir(join(files, directory), { recursive: true });
  const own = [
    'test/vm',
    'node_modules/node/bin/node',
    'package.json',
    ...modules.map((name) => `node_modules/${name}`),
  ];
  for (const path of own) await cp(join(repository, path), join(files, repository, path), { recursive: true });
  await copyFile(join(repository, 'test/vm/inside/init'), join(tree, 'init'));
  const runtime = join(built.env.KAPSEL_RUNTIME ?? '', '..');
  await writeFile(join(tree, 'directories'), [repository, target, runtime].map((path) => `${path}\n`).join(''));
  await fileSystem(image, tree, 64);
}
