// Ctrl-C and its kin while a command does work of its own, such as a pull, before there is a program to hand them to.
import { constants } from 'node:os';

const ending = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
type Ending = (typeof ending)[number];

export interface Interrupt {
  readonly signal: AbortSignal;
  /** From here on the signals are somebody else's. */
  release(): void;
}

/** The first signal aborts the work, the second ends the process on the spot. */
export function interruptible(): Interrupt {
  const controller = new AbortController();
  const release = on((name) => {
    if (controller.signal.aborted) exit(name);
    controller.abort();
  });
  return { signal: controller.signal, release };
}

/**
 * Ends the process by way of its exit handlers, which a signal left to itself would pass by: one of them gives the
 * terminal back. Until the returned function is called.
 */
export function exitOnSignals(): () => void {
  return on(exit);
}

function exit(name: Ending): never {
  process.exit(128 + constants.signals[name]);
}

function on(handle: (name: Ending) => void): () => void {
  for (const name of ending) process.on(name, handle);
  return () => {
    for (const name of ending) process.off(name, handle);
  };
}
