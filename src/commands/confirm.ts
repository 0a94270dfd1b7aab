// Docker's question before something is removed for good.
import { readSync } from 'node:fs';
import { Failure } from '../cli/failure.ts';
import { print } from '../ui/output.ts';

/** Asks unless the answer was given with -f; anything but `y` ends the command. */
export function confirm(force: boolean | undefined, warning: string, what: string): void {
  if (force) return;
  print(`WARNING! ${warning}\nAre you sure you want to continue? [y/N] `);
  if (/^y(es)?$/i.test(readLine().trim())) return;
  throw new Failure(`${what} has been cancelled`);
}

/** What is typed up to the end of the line; empty where nobody is there to type. */
function readLine(): string {
  const bytes: number[] = [];
  const one = Buffer.alloc(1);
  for (;;) {
    try {
      if (readSync(0, one, 0, 1, null) === 0 || one[0] === 10) break;
      bytes.push(one[0]!);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') break;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
  return Buffer.from(bytes).toString('utf8');
}
