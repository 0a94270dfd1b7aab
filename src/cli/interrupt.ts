// Ctrl-C and its kin while a command does work of its own, such as a pull, before there is a program to hand them to.
const ending = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** From here on the signals are somebody else's. */
  release(): void;
}

/** The first signal aborts the work, the second ends the process on the spot. */
export function interruptible(): Interrupt {
  const controller = new AbortController();
  const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 };
  const abort = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(128 + numbers[name as keyof typeof numbers]);
    controller.abort();
  };
  for (const name of ending) process.on(name, abort);
  return {
    signal: controller.signal,
    release() {
      for (const name of ending) process.off(name, abort);
    },
  };
}
