// Locks between processes: a file that exists while somebody works on the thing beside it.
// The kernel lets go of a lock when its holder dies, so a file that can be locked belongs to nobody.

import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { close, tryLock as tryFile } from '../../native.ts';
import { AbortedError } from '../errors.ts';

export interface Lock {
  /** Removes the file and lets go; once, however often it is called. */
  release(): void;
}

/** Undefined where another holds it. */
export function tryLock(path: string): Lock | undefined {
  const fd = tryFile(path);
  if (fd === undefined) return undefined;
  let held = true;
  return {
    release() {
      if (!held) return;
      held = false;
      rmSync(path, { force: true });
      close(fd);
    },
  };
}

/** Waits until the lock is free, if only of somebody who looks for what the dead left. `onWait` is called once, where it is not. */
export async function lock(path: string, signal?: AbortSignal, onWait?: () => void): Promise<Lock> {
  for (let pause = 10; ; pause = Math.min(pause * 2, 200)) {
    if (signal?.aborted) throw new AbortedError();
    const held = tryLock(path);
    if (held) return held;
    if (pause === 10) onWait?.();
    try {
      await sleep(pause, undefined, signal ? { signal } : {});
    } catch {
      throw new AbortedError();
    }
  }
}
