// What a pull takes of memory: its Node beyond a Node that does nothing, and its workers.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** `VmHWM` of a process, in KiB; none of one that is gone, or that has not become a program of its own yet. */
function peak(pid: number, program: string): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    if (!status.startsWith(`Name:\t${program}`)) return 0;
    return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** The highest of its Node and of all workers at once, in KiB, each as its own highest until then. */
async function peaks(args: string[]): Promise<{ own: number; workers: number }> {
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  let over = false;
  child.once('exit', () => (over = true));
  const most = { own: 0, workers: 0 };
  while (!over) {
    most.own = Math.max(most.own, peak(child.pid!, ''));
    most.workers = Math.max(
      most.workers,
      childrenOf(child.pid!).reduce((sum, pid) => sum + peak(pid, 'kapsel-runtime'), 0),
    );
    await setTimeout(10);
  }
  if (child.exitCode !== 0) throw new Error(`${args.join(' ')} ended with ${child.exitCode}`);
  return most;
}

/** MiB. */
export async function peakOfPull(args: string[]): Promise<number> {
  const idle = await peaks(['-e', 'setTimeout(() => {}, 500)']);
  const { own, workers } = await peaks(args);
  console.log(
    `a pull's Node ${(own / 1024).toFixed(0)} MiB (an idle one ${(idle.own / 1024).toFixed(0)}), its workers ${(workers / 1024).toFixed(0)}`,
  );
  return (own - idle.own + workers) / 1024;
}
