// Errors that carry an exit code: what the command line itself has to complain about.
// Errors of the engine have their own classes; main.ts gives both their line on stderr.

import { plain } from '../ui/plain.ts';

/** An error with the exit code it ends the process with. */
export class Failure extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The command line is wrong: `See 'kapsel run --help'.` follows, as after Docker's own. */
export class UsageError extends Failure {
  /** `run`, `volume ls`; empty for kapsel itself. */
  readonly command: string;
  constructor(message: string, command: string, exitCode = 125) {
    super(message, exitCode);
    this.command = command;
  }
}

/** What was thrown, in one line, with what to do about it where that is known. */
export function describe(error: unknown): string {
  const hint = error instanceof Error && 'hint' in error && typeof error.hint === 'string' ? `: ${error.hint}` : '';
  return plain(messageOf(error).replaceAll(/\s*\n\s*/g, ' ') + hint);
}

/** Its message alone. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
