// A whole engine of a test's own: roots in the test file's folder, a cgroup of its own, the CLI bound to them.

import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, readdir, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import * as assert from 'uvu/assert';
import { Engine, type EngineOptions } from '../../src/index.ts';

const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
/** Where every test of this file keeps its files; made by the runner, or here when a file is run by hand. */
export const scratch = process.env.KAPSEL_TEST_SCRATCH ?? (await mkdtemp(join(tmpdir(), 'kapsel-test-')));
// Nobody else knows of it.
if (process.env.KAPSEL_TEST_SCRATCH === undefined) {
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true }));
}

/** What a command gave. */
export interface CommandResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** How a command is run. */
export interface CommandOptions {
  input?: string | Buffer;
  env?: Record<string, string>;
  cwd?: string;
  signal?: AbortSignal;
  /** Runs as this user and group, with no supplementary groups. */
  uid?: number;
}

/** Runs a program to its end and takes its output. */
export async function run(command: string, args: string[], options: CommandOptions = {}): Promise<CommandResult> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    signal: options.signal,
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  });
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout.on('data', (chunk: Buffer) => output.stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.stderr.push(chunk));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? (signal ? 255 : 1)));
  });
  return { exitCode, stdout: Buffer.concat(output.stdout).toString(), stderr: Buffer.concat(output.stderr).toString() };
}

/** What there is of an engine on the machine, counted. */
export interface Census {
  mounts: number;
  cgroups: number;
  runDirectories: number;
  containerDirectories: number;
  temporary: number;
}

/** An engine and the command line on the same roots. */
export class TestEngine {
  readonly directory: string;
  readonly root: string;
  readonly runRoot: string;
  readonly cgroupParent: string;
  /** What another engine on the same roots is made of. */
  readonly options: EngineOptions;
  readonly engine: Engine;
  readonly env: Record<string, string>;

  private constructor(directory: string) {
    this.directory = directory;
    this.root = join(directory, 'root');
    this.runRoot = join(directory, 'run');
    this.cgroupParent = `/${basename(scratch)}-${basename(directory)}`;
    this.env = {
      KAPSEL_ROOT: this.root,
      KAPSEL_RUN_ROOT: this.runRoot,
      KAPSEL_CGROUP_PARENT: this.cgroupParent,
      // No bridge in the machine's own network namespace.
      KAPSEL_DEFAULT_NETWORK: 'none',
    };
    this.options = {
      root: this.root,
      runRoot: this.runRoot,
      cgroupParent: this.cgroupParent,
      defaultNetwork: 'none',
    };
    this.engine = new Engine(this.options);
  }

  static async make(): Promise<TestEngine> {
    return new TestEngine(await mkdtemp(join(scratch, 'e')));
  }

  /** `kapsel ARGS` on this engine's roots. */
  kapsel(args: string[], options: CommandOptions = {}): Promise<CommandResult> {
    return run(process.execPath, [cli, ...args], { ...options, env: { ...this.env, ...options.env } });
  }

  /** What `kapsel ARGS` prints; it must succeed. */
  async output(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.kapsel(args);
    assert.is(exitCode, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  /** Counts what this engine has on the machine now; equal before and after means that nothing was left. */
  async census(): Promise<Census> {
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').length;
    let cgroups = 0;
    for (const hierarchy of await readdir('/sys/fs/cgroup').catch(() => [])) {
      cgroups += (
        await readdir(join('/sys/fs/cgroup', hierarchy, this.cgroupParent)).catch(() => [] as string[])
      ).filter((name) => /^[0-9a-f]{64}$/.test(name)).length;
    }
    const count = async (path: string) => (await readdir(path).catch(() => [])).length;
    return {
      mounts,
      cgroups,
      runDirectories: await count(join(this.runRoot, 'containers')),
      containerDirectories: await count(join(this.root, 'containers')),
      temporary: await count(join(this.root, 'tmp')),
    };
  }

  /** Ends every container and removes everything. */
  async close(): Promise<void> {
    for (const container of await this.engine.containers.list({ all: true })) {
      await (await this.engine.containers.get(container.id)).remove({ force: true }).catch(() => undefined);
    }
    await this.engine.close();
    await removeCgroups(this.cgroupParent);
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** The engine's own cgroup, in every hierarchy: empty once its containers are gone. */
export async function removeCgroups(parent: string): Promise<void> {
  for (const hierarchy of await readdir('/sys/fs/cgroup').catch(() => [])) {
    await rmdir(join('/sys/fs/cgroup', hierarchy, parent)).catch(() => undefined);
  }
  await rmdir(join('/sys/fs/cgroup', parent)).catch(() => undefined);
}

/** An engine of the test's own; `close` it in `after`. */
export function testEngine(): Promise<TestEngine> {
  return TestEngine.make();
}
