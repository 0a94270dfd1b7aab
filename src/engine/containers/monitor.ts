// Starting a container's monitor, and finding one that runs. Knows descriptors and processes, not containers' rows.

import { readSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';

import { close, connect, memfd, pipe, runtimePath, socketpair, spawn } from '../../native.ts';
import { errorFrom, type Failure, KapselError } from '../errors.ts';

/** A monitor that was started: its descriptors are the caller's. */
export interface Monitor {
  pid: number;
  connection: number;
  /** A file with what it has written to its stderr. */
  complaints: number;
  /** Where it waits to be told what it is to do; when that is closed too early, it ends and leaves nothing. */
  orders: number;
}

/** A request and what goes with it. */
export interface StreamRequest {
  request: object;
  fds: readonly number[];
  /** Descriptors of ours to close once it has been sent, or has failed. */
  closing: readonly number[];
}

/**
 * A monitor that has nothing to do yet: it takes as long to come as its Launch takes to write. `words`: what kind of
 * monitor. All descriptors stay the caller's.
 */
export function spawnMonitor(lock: number, ...words: string[]): Monitor {
  const [ours, theirs] = socketpair();
  const [heard, orders] = pipe();
  const complaints = memfd('');
  try {
    const pid = spawn({
      path: runtimePath(),
      argv: ['kapsel-runtime', 'monitor', ...words],
      env: runtimeEnvironment(),
      fds: [null, null, complaints, heard, lock, theirs],
      setsid: true,
    });
    return { pid, connection: ours, complaints, orders };
  } catch (error) {
    for (const fd of [ours, complaints, orders]) close(fd);
    throw error;
  } finally {
    for (const fd of [theirs, heard]) close(fd);
  }
}

/** Says one document of those that a monitor waits for. Why one that has gone does not listen, its connection tells. */
export function order({ orders }: Pick<Monitor, 'orders'>, document: string): void {
  try {
    writeFileSync(orders, `${document}\n`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/** The executable needs PATH to find newuidmap and criu, and passes nothing of it on to a container. */
export function runtimeEnvironment(): string[] {
  return ['PATH', 'KAPSEL_CRIU', 'KAPSEL_TRACE'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [`${name}=${value}`];
  });
}

/** What a monitor that went away at once has to say for itself, if anything. */
export function complaintOf(complaints: number): KapselError | undefined {
  const buffer = Buffer.alloc(16_384);
  const line =
    buffer
      .toString('utf8', 0, readSync(complaints, buffer, 0, buffer.length, 0))
      .trim()
      .split('\n')
      .at(-1) ?? '';
  if (line === '') return undefined;
  try {
    return errorFrom(JSON.parse(line) as Failure);
  } catch {
    return new KapselError('MONITOR_FAILED', `the container's monitor failed: ${line}`, { exitCode: 125 });
  }
}

const nobody = new Set([constants.errno.ENOENT, constants.errno.ECONNREFUSED, constants.errno.ENOTDIR]);

/**
 * A further connection to a running container's monitor; undefined where nobody listens (any more), `busy` where it has
 * not let in those before us.
 */
export function connectMonitor(control: string): number | 'busy' | undefined {
  try {
    return connect(control);
  } catch (error) {
    if (error instanceof KapselError && error.errno === constants.errno.EAGAIN) return 'busy';
    if (error instanceof KapselError && nobody.has(error.errno ?? 0)) return undefined;
    throw error;
  }
}
