// Another machine, as far as networks go: a network namespace of its own, and cables between two of them.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readlinkSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { type CommandResult, run } from './engine.ts';

/** Lives until `stop`; whoever makes one is in a network namespace of its own already. */
export class Machine {
  readonly #holder: ChildProcess;
  readonly #programs: ChildProcess[] = [];

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async make(): Promise<Machine> {
    const own = readlinkSync('/proc/self/ns/net');
    const holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' });
    const machine = new Machine(holder);
    const path = `/proc/${machine.pid}/ns/net`;
    while (!existsSync(path) || readlinkSync(path) === own) await setTimeout(2);
    inside(machine.pid, 'ip', 'link', 'set', 'lo', 'up');
    return machine;
  }

  /** Of a process in it. */
  get pid(): number {
    return this.#holder.pid as number;
  }

  /** A command to its end. */
  run(command: string, ...args: string[]): Promise<CommandResult> {
    return run('nsenter', ['--net', '--target', String(this.pid), command, ...args]);
  }

  /** A program that goes on until the machine stops. */
  start(...command: string[]): ChildProcess {
    const program = startInside(this.pid, ...command);
    this.#programs.push(program);
    return program;
  }

  stop(): void {
    for (const process of [...this.#programs, this.#holder]) process.kill('SIGKILL');
  }
}

/** The output of a command in the network namespace of a process. */
export function inside(pid: number, ...command: string[]): string {
  const args = ['--net', '--target', String(pid), ...command];
  return execFileSync('nsenter', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A program in the network namespace of a process. */
export function startInside(pid: number, ...command: string[]): ChildProcess {
  return spawn('nsenter', ['--net', '--target', String(pid), ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** An end of a cable: a process in the network namespace, and the addresses with their prefix's length. */
export interface End {
  pid: number;
  addresses: string[];
}

/** A cable; its ends are NAMEa and NAMEb. Addresses are usable at once. */
export function cable(name: string, from: End, to: End): void {
  const peer = ['peer', 'name', `${name}b`, 'netns', String(to.pid)];
  inside(from.pid, 'ip', 'link', 'add', 'name', `${name}a`, 'type', 'veth', ...peer);
  for (const [link, { pid, addresses }] of [
    [`${name}a`, from],
    [`${name}b`, to],
  ] as const) {
    for (const address of addresses) {
      const nodad = address.includes(':') ? ['nodad'] : [];
      inside(pid, 'ip', 'address', 'add', address, 'dev', link, ...nodad);
    }
    inside(pid, 'ip', 'link', 'set', 'dev', link, 'up');
  }
}
