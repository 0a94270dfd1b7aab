// What a monitor says of a program's life, in the engine's words.

import type { MonitorEvent } from '../../native.ts';
import { KapselError } from '../errors.ts';
import { signalName } from './notation/quantities.ts';
import type { ExitStatus } from './options.ts';

/** The monitor went away without a last word. */
export class MonitorLostError extends KapselError {
  constructor() {
    super('MONITOR_LOST', 'the container’s monitor ended without saying how the program did', { exitCode: 137 });
  }
}

type Ended = Extract<MonitorEvent, { event: 'exited' }>;

export function exitStatus(event: Omit<Ended, 'event'>): ExitStatus {
  return {
    exitCode: event.exitCode,
    ...(event.signal ? { signal: signalName(event.signal) } : {}),
    oomKilled: event.oomKilled,
    finishedAt: event.finishedAt,
  };
}

/** An exec's connection first hears that the container runs; its own events are marked. */
export function isOfExec(event: MonitorEvent & { exec?: boolean }): boolean {
  return event.exec === true;
}
