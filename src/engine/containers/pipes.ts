// Pipes between this process and a monitor, as descriptors, and the request that brings the monitor its ends.

import { close, pipe } from '../../native.ts';
import type { StreamRequest } from './monitor.ts';

/** Our ends of a program's streams, as descriptors. */
export interface Pipes extends StreamRequest {
  stdin?: number;
  stdout?: number;
  stderr?: number;
}

export function openPipes(base: object, wanted: { stdin: boolean; stdout: boolean; stderr: boolean }): Pipes {
  const theirs: number[] = [];
  const ours: { stdin?: number; stdout?: number; stderr?: number } = {};
  try {
    for (const name of ['stdin', 'stdout', 'stderr'] as const) {
      if (!wanted[name]) continue;
      const [read, write] = pipe();
      theirs.push(name === 'stdin' ? read : write);
      ours[name] = name === 'stdin' ? write : read;
    }
  } catch (error) {
    for (const fd of [...theirs, ...Object.values(ours)]) close(fd);
    throw error;
  }
  return { request: { ...base, ...wanted }, fds: theirs, closing: theirs, ...ours };
}

/** Closes our ends of pipes that nobody will use. */
export function closePipes(pipes: Pipes): void {
  for (const fd of [pipes.stdin, pipes.stdout, pipes.stderr]) if (fd !== undefined) close(fd);
}
