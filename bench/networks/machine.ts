// A machine that is nothing but a network namespace, and cables between two of them.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readlinkSync } from 'node:fs';

const own = readlinkSync('/proc/self/ns/net');

/** Ends with `stop`; whoever makes one is in the benchmark's own namespace. */
export class Machine {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async make(): Promise<Machine> {
    const holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' });
    const machine = new Machine(holder);
    const path = `/proc/${machine.pid}/ns/net`;
    while (!existsSync(path) || readlinkSync(path) === own) await new Promise((resolve) => setTimeout(resolve, 2));
    machine.run('ip', 'link', 'set', 'lo', 'up');
    return machine;
  }

  get pid(): number {
    return this.#holder.pid as number;
  }

  run(...command: string[]): string {
    return inside(this.pid, ...command);
  }

  stop(): void {
    this.#holder.kill();
  }
}

/** The output of a command in the network namespace of a process. */
export function inside(pid: number, ...command: string[]): string {
  return execFileSync('nsenter', ['--net', '--target', String(pid), ...command], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** A cable between the namespaces of two processes, each end with its address. */
export function cable(name: string, from: [pid: number, address: string], to: [pid: number, address: string]): void {
  const ends = [`${name}a`, `${name}b`] as const;
  const peer = ['peer', 'name', ends[1], 'netns', String(to[0])];
  execFileSync('ip', ['link', 'add', ends[0], 'netns', String(from[0]), 'type', 'veth', ...peer]);
  for (const [end, [pid, address]] of [
    [ends[0], from],
    [ends[1], to],
  ] as const) {
    inside(pid, 'ip', 'address', 'add', address, 'dev', end);
    inside(pid, 'ip', 'link', 'set', end, 'up');
  }
}
