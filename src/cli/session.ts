// A program in the foreground: raw terminal, window size, signals, detach keys, exit code. What `run`, `start -a`,
// `exec` and `attach` have in common once the engine has joined the streams.
import type { Session } from '../engine/containers/options.ts';
import type { Terminal } from '../ui/terminal.ts';
import { exitOnSignals } from './interrupt.ts';
import { proxySignals } from './proxy.ts';

export interface Foreground {
  /** The user's terminal, where the program has one. */
  terminal: Terminal | undefined;
  /** Its input is ours. */
  interactive: boolean;
  sigProxy: boolean;
}

/** Stays with the program to its end, or until the detach keys; resolves with kapsel's exit code. */
export async function follow(session: Session, { terminal, interactive, sigProxy }: Foreground): Promise<number> {
  const release = sigProxy ? proxySignals((signal) => session.kill(signal)) : exitOnSignals();
  try {
    if (terminal) {
      if (interactive) terminal.enterRawMode();
      terminal.onResize(({ columns, rows }) => void session.resize(columns, rows).catch(() => {}));
    }
    // Both are awaited at once: a program that cannot start rejects the first, and the second with it.
    const [, status] = await Promise.all([session.started, session.exited]);
    return status.detached ? 0 : status.exitCode;
  } finally {
    terminal?.leave();
    release();
    session.close();
  }
}
