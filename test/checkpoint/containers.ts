// Bundles of a test's own, kapsel-runtime on a root and a cgroup of its own, and a real CRIU.

import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import * as assert from 'uvu/assert';

import { close, pipe, runtimePath } from '../../src/native.ts';
import { removeCgroups, run, scratch, type CommandResult } from '../harness/engine.ts';
import { criu } from './criu.ts';

/** Answers each line of /ask with how many there were; a child of it lives all the time. */
export const counter = `mkfifo /ask; exec 3<> /ask; n=0; sleep 100000 & child=$!; echo "ready $child"
while read line <&3; do n=$((n + 1)); echo "$n $line $child"; done`;

/** A bundle, the id of its container, and where its images go. */
export interface Bundle {
  path: string;
  id: string;
  images: string;
}

/** What a bundle has beside the usual. */
export interface Changes {
  linux?: object;
  mounts?: object[];
  terminal?: boolean;
  args?: string[];
}

export class Containers {
  readonly directory: string;
  readonly cgroupParent: string;
  readonly program: string;
  #before: object = {};
  #ids = 0;

  private constructor(directory: string, program: string) {
    this.directory = directory;
    this.program = program;
    this.cgroupParent = `/${basename(scratch)}-${basename(directory)}`;
  }

  static async make(debian: 'trixie' | 'forky' = 'trixie'): Promise<Containers> {
    const program = await criu(debian);
    const containers = new Containers(await mkdtemp(join(scratch, 'runtime-')), program);
    const bin = containers.inside('bin');
    for (const name of ['bin', 'proc', 'sys', 'dev', 'tmp', 'data', 'usr', 'lib', 'lib64']) {
      await mkdir(containers.inside(name), { recursive: true });
    }
    await copyFile('/bin/busybox', join(bin, 'busybox'));
    await chmod(join(bin, 'busybox'), 0o755);
    for (const name of ['sh', 'cat', 'echo', 'ln', 'mkfifo', 'rm', 'sleep']) {
      await symlink('busybox', join(bin, name));
    }
    containers.#before = await containers.#census();
    return containers;
  }

  /** A path in every container's root. */
  inside(name: string): string {
    return join(this.directory, 'rootfs', name);
  }

  /** Ends what a test has left. */
  async clear(): Promise<void> {
    for (const id of await readdir(join(this.directory, 'state')).catch(() => [])) {
      if (!id.startsWith('@')) await this.runtime(['delete', '--force', id]);
    }
    await rm(this.inside('ask'), { force: true });
  }

  async close(): Promise<void> {
    assert.equal(await this.#census(), this.#before);
    await removeCgroups(this.cgroupParent);
    await rm(this.directory, { recursive: true, force: true });
  }

  async #census(): Promise<object> {
    const parent = join('/sys/fs/cgroup/pids', this.cgroupParent);
    const cgroups = await readdir(parent, { withFileTypes: true }).catch(() => []);
    return {
      mounts: (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').length,
      cgroups: cgroups.filter((entry) => entry.isDirectory()).length,
    };
  }

  get #env(): Record<string, string> {
    return { KAPSEL_CRIU: this.program };
  }

  runtime(args: string[], env: Record<string, string> = {}): Promise<CommandResult> {
    const global = ['--root', join(this.directory, 'state')];
    return run(runtimePath(), [...global, ...args], { env: { ...this.#env, ...env } });
  }

  /** One that the test goes on beside. */
  spawn(args: string[], stdio: StdioOptions): ChildProcess {
    const global = ['--root', join(this.directory, 'state')];
    return spawn(runtimePath(), [...global, ...args], { stdio, env: { ...process.env, ...this.#env } });
  }

  async succeeds(args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.runtime(args);
    assert.is(exitCode, 0, stderr);
    return stdout.trim();
  }

  /** Fails with one line that says this. */
  async complains(expected: RegExp, args: string[], env: Record<string, string> = {}): Promise<void> {
    const { exitCode, stderr } = await this.runtime(args, env);
    assert.is(exitCode, 1, stderr);
    assert.match(stderr, expected, stderr);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
  }

  async bundle(script: string, changes: Changes = {}): Promise<Bundle> {
    const id = `c${++this.#ids}`;
    const path = await mkdtemp(join(this.directory, 'bundle-'));
    const simple = (destination: string, type: string, ...options: string[]) => ({
      destination,
      type,
      source: type,
      options,
    });
    const config = {
      ociVersion: '1.2.0',
      process: {
        terminal: changes.terminal ?? false,
        cwd: '/',
        args: changes.args ?? ['sh', '-c', script],
        env: ['PATH=/bin'],
        user: { uid: 0, gid: 0 },
      },
      root: { path: '../rootfs' },
      hostname: id,
      mounts: [
        simple('/proc', 'proc'),
        simple('/dev', 'tmpfs', 'nosuid', 'mode=755'),
        simple('/dev/pts', 'devpts', 'newinstance', 'ptmxmode=0666'),
        simple('/dev/shm', 'tmpfs', 'nosuid'),
        simple('/sys', 'sysfs', 'ro'),
        simple('/sys/fs/cgroup', 'cgroup', 'ro'),
        ...(changes.mounts ?? []),
      ],
      linux: {
        cgroupsPath: `${this.cgroupParent}/${id}`,
        namespaces: ['pid', 'mount', 'ipc', 'uts', 'network', 'cgroup'].map((type) => ({ type })),
        maskedPaths: ['/proc/keys', '/proc/acpi'],
        readonlyPaths: ['/proc/sys'],
        resources: { pids: { limit: 50 } },
        ...changes.linux,
      },
    };
    await writeFile(join(path, 'config.json'), JSON.stringify(config));
    return { path, id, images: join(path, 'images') };
  }

  /** A command in the foreground of a terminal of its own, and a wait for what is seen there. */
  inTerminal(args: string[]): { child: ChildProcessWithoutNullStreams; sees: (expected: RegExp) => Promise<void> } {
    const command = [runtimePath(), '--root', join(this.directory, 'state'), ...args].join(' ');
    const child = spawn('script', ['-qefc', command, '/dev/null'], { env: { ...process.env, ...this.#env } });
    let seen = '';
    child.stdout.on('data', (data: Buffer) => (seen += data.toString()));
    const sees = async (expected: RegExp) => {
      while (!expected.test(seen)) await once(child.stdout, 'data');
    };
    return { child, sees };
  }

  speaker(args: string[]): Speaker {
    return new Speaker(['--root', join(this.directory, 'state'), ...args], this.#env);
  }

  /** Runs the bundle's container, and gives its first line once that is there. */
  async start({ path, id }: Bundle): Promise<{ speaker: Speaker; line: string }> {
    const speaker = this.speaker(['run', '--detach', '--bundle', path, id]);
    return { speaker, line: await speaker.line() };
  }

  /** Restores it; `restore` has ended when this returns. */
  async restore({ path, id, images }: Bundle, flags: string[] = []): Promise<Speaker> {
    const words = ['restore', '--detach', '--bundle', path, '--image-path', images, ...flags, id];
    const speaker = this.speaker(words);
    await once(speaker.child, 'exit');
    return speaker;
  }

  ask(id: string, word: string): Promise<string> {
    return this.succeeds(['exec', id, 'sh', '-c', `echo ${word} > /ask`]);
  }

  async state(id: string): Promise<{ status: string; pid: number }> {
    return JSON.parse(await this.succeeds(['state', id])) as { status: string; pid: number };
  }
}

/** A command whose output is a pipe that becomes the container's, and the lines that come out of it. */
export class Speaker {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(args: string[], env: Record<string, string>) {
    // Node's own pipes are sockets.
    const [read, write] = pipe();
    this.child = spawn(runtimePath(), args, { stdio: ['ignore', write, write], env: { ...process.env, ...env } });
    close(write);
    const output = new Socket({ fd: read, readable: true, writable: false });
    this.#lines = createInterface({ input: output })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value } = (await this.#lines.next()) as { value: string };
    return value;
  }
}
