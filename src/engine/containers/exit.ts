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

/** Milliseconds within which a monitor answers if it runs at all: it waits for nothing but the kernel's freezer. */
export const answerTime = 10_000;

/** Somebody has stopped the monitor, or looks at it with a debugger. */
export class MonitorUnresponsiveError extends KapselError {
  constructor() {
    super('MONITOR_UNRESPONSIVE', 'the container’s monitor does not answer', {
      hint: 'continue it if it was stopped, or end the container with kapsel rm -f',
    });
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
