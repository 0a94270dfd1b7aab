// Hands every signal kapsel gets to the program in the container, as docker run does with --sig-proxy.
import type { Signal } from '../engine/containers/options.ts';

/**
 * All that can be caught, but SIGCHLD and SIGPIPE, which are about kapsel itself, SIGWINCH, which the terminal
 * handles, and those a broken process raises at itself (SIGSEGV and the like).
 */
const proxied: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGCONT',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGIO',
  'SIGPWR',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGSTKFLT',
  'SIGVTALRM',
];

/** Until the returned function is called. A program that has just ended is not an error. */
export function proxySignals(kill: (signal: Signal) => Promise<void>): () => void {
  const forward = (signal: NodeJS.Signals) => void kill(signal).catch(() => {});
  for (const name of proxied) process.on(name, forward);
  return () => {
    for (const name of proxied) process.off(name, forward);
  };
}
