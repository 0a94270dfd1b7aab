// A machine of the test's own for the container managers of Debian: process, mount, network and host name
// namespaces, an empty /run, and an /etc, /opt and /var whose changes go into memory. It ends with the test, and everything in it too.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, readdir, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { runtimePath } from '../../src/native.ts';
import { type CommandOptions, type CommandResult, run, scratch } from '../harness/engine.ts';

/** The OCI runtime under test. */
export const runtime = process.env.KAPSEL_RUNTIME ?? runtimePath();
/** Part of the name of every cgroup that a manager makes, so that the runner finds those left behind. */
export const tag = basename(scratch);

// The shell is process 1 of the machine: while it waits for `cat`, it reaps whatever has lost its parent.
// `cat` ends when this process does, however it does.
const init = `
  set -e
  mount -t tmpfs run /run
  for directory in etc opt var; do
    mkdir -p /run/changes/$directory/upper /run/changes/$directory/work
    mount -t overlay overlay /$directory \
      -o lowerdir=/$directory,upperdir=/run/changes/$directory/upper,workdir=/run/changes/$directory/work
  done
  mkdir -p /run/lock
  ip link set lo up
  hostname "$0"
  echo ready
  cat >/dev/null
`;

/** A started daemon. */
export interface Daemon {
  /** What it has said so far. */
  log(): Promise<string>;
  /** Ends it with SIGTERM and waits for its end; throws where that takes longer than 20 s. */
  stop(): Promise<void>;
}

export class Machine {
  /** Process 1, as the host sees it. */
  readonly pid: number;
  readonly #unshare: ChildProcess;
  /** What every program inside is given beside the test's own environment. */
  readonly environment: Record<string, string>;

  private constructor(unshare: ChildProcess, pid: number, environment: Record<string, string>) {
    this.#unshare = unshare;
    this.pid = pid;
    this.environment = environment;
  }

  /** Makes it; `name` is its host name. */
  static async make(environment: Record<string, string> = {}, name = 'machine'): Promise<Machine> {
    const env = {
      // Debian's own managers, whatever else is installed.
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: join(scratch, 'home'),
      ...environment,
    };
    const flags = ['--mount', '--net', '--pid', '--uts', '--fork', '--mount-proc', '--kill-child'];
    const unshare = spawn('unshare', [...flags, 'sh', '-c', init, name], {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ready = await Promise.race([once(unshare.stdout, 'data'), once(unshare, 'exit').then(() => undefined)]);
    if (ready === undefined) throw new Error('no machine could be made: the lines above say why');
    const children = await readFile(`/proc/${unshare.pid}/task/${unshare.pid}/children`, 'utf8');
    return new Machine(unshare, Number(children), env);
  }

  /** The command line that runs this one inside. */
  inside(command: string, args: string[]): [command: string, args: string[]] {
    return ['nsenter', ['--target', `${this.pid}`, '--mount', '--net', '--pid', '--uts', command, ...args]];
  }

  /** Runs a program inside to its end. */
  run(command: string, args: string[], options: CommandOptions = {}): Promise<CommandResult> {
    return run(...this.inside(command, args), { ...options, env: { ...this.environment, ...options.env } });
  }

  /** Runs a program inside that must succeed; gives its output without the last line's end. */
  async output(command: string, args: string[], options: CommandOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(command, args, options);
    if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${exitCode}: ${stdout}${stderr}`);
    return stdout.trimEnd();
  }

  /** Starts a daemon inside and waits until `ready` succeeds. */
  async daemon(command: string, args: string[], ready: string[], environment = {}): Promise<Daemon> {
    const path = join(scratch, `${basename(command)}-${this.pid}.log`);
    const file = await open(path, 'w');
    const child = spawn(...this.inside(command, args), {
      env: { ...process.env, ...this.environment, ...environment },
      stdio: ['ignore', file.fd, file.fd],
    });
    await file.close();
    const exited = once(child, 'exit');
    const log = () => readFile(path, 'utf8');
    const deadline = Date.now() + 30_000;
    for (;;) {
      if ((await this.run(ready[0] as string, ready.slice(1))).exitCode === 0) break;
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${command} is not ready: ${await log()}`);
      await setTimeout(100);
    }
    const stop = async () => {
      // nsenter has forked: the daemon is its child.
      const pid = Number(await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').catch(() => '0'));
      if (pid > 0) process.kill(pid, 'SIGTERM');
      const ended = await Promise.race([exited.then(() => true), setTimeout(20_000, false, { ref: false })]);
      if (!ended) throw new Error(`${command} did not end within 20 s: ${await log()}`);
    };
    return { log, stop };
  }

  /** The command lines of everything that runs inside, but for process 1, its `cat` and what looks. */
  async processes(): Promise<string[]> {
    const lines = (await this.output('ps', ['-eo', 'pid=,args='])).split('\n').map((line) => line.trim());
    return lines.filter((line) => !/^1 |^\d+ (cat|ps -eo pid=,args=)$/.test(line));
  }

  /** The paths of everything mounted inside, sorted. */
  async mounts(): Promise<string[]> {
    const info = await readFile(`/proc/${this.pid}/mountinfo`, 'utf8');
    return info
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ')[4] as string)
      .toSorted();
  }

  /** The containers that the runtime keeps in those directories, which may be patterns of the shell. */
  async containers(roots: string): Promise<string[]> {
    // What begins with @ is the runtime's own, and no container.
    const found = await this.output('sh', ['-c', `find ${roots} -mindepth 1 -maxdepth 1 ! -name '@*' 2>/dev/null; :`]);
    return found.split('\n').filter(Boolean);
  }

  /** Ends it, and with it every process inside. */
  async close(): Promise<void> {
    const exited = once(this.#unshare, 'exit');
    this.#unshare.stdin?.end();
    await exited;
  }
}

/** The cgroups below the one of that name, in every hierarchy. */
export async function cgroups(parent = tag): Promise<string[]> {
  const found: string[] = [];
  const walk = async (directory: string): Promise<void> => {
    for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
      if (!entry.isDirectory()) continue;
      found.push(join(directory, entry.name));
      await walk(join(directory, entry.name));
    }
  };
  for (const hierarchy of ['', ...(await readdir('/sys/fs/cgroup'))])
    await walk(join('/sys/fs/cgroup', hierarchy, parent));
  return found;
}

/** Removes the empty cgroups that managers keep for their containers: the parent itself, and `children` of it. */
export async function removeParent(parent = tag, children: string[] = []): Promise<void> {
  for (const hierarchy of ['', ...(await readdir('/sys/fs/cgroup'))]) {
    for (const path of [...children, '']) {
      await rmdir(join('/sys/fs/cgroup', hierarchy, parent, path)).catch(() => undefined);
    }
  }
}
