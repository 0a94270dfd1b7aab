// Hands every signal kapsel gets to the program in the container, as docker run does with --sig-proxy.
import type { Signal } from '../engine/containers/options.ts';
import { say } from '../ui/output.ts';

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
  let insisted = 0;
  const forward = (signal: NodeJS.Signals) => {
    void kill(signal).catch(() => {});
    // As docker: a program, or its monitor, that does not care must not hold the user's terminal.
    if ((signal === 'SIGINT' || signal === 'SIGTERM') && (insisted += 1) === 3) {
      say('got 3 SIGTERM/SIGINTs, forcefully exiting');
      process.exit(1);
    }
  };
  for (const name of proxied) process.on(name, forward);
  return () => {
    for (const name of proxied) process.off(name, forward);
  };
}
