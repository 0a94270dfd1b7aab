// ROOT/tmp: directories that live as long as one piece of work, each under its own lock, and what the dead left of them.

import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { randomHex } from '../random.ts';
import { type Lock, lock, tryLock } from './locks.ts';
import { removeTrees } from './worker.ts';

/** Runs `work` with an empty directory that is gone afterwards, however it ends. */
export async function withScratch<T>(root: string, work: (directory: string) => Promise<T>): Promise<T> {
  const parent = join(root, 'tmp');
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  await sweepScratch(root);
  const directory = join(parent, randomHex(8));
  const held = await lock(`${directory}.lock`);
  try {
    mkdirSync(directory, { mode: 0o700 });
    return await work(directory);
  } finally {
    await removeTrees([directory]).finally(() => held.release());
  }
}

export async function sweepScratch(root: string): Promise<void> {
  const parent = join(root, 'tmp');
  const names = new Set(readdirSync(parent).map((name) => name.replace(/\.lock$/, '')));
  const dead: { path: string; lock: Lock }[] = [];
  for (const name of names) {
    const path = join(parent, name);
    const held = tryLock(`${path}.lock`);
    if (held) dead.push({ path, lock: held });
  }
  try {
    await removeTrees(dead.map(({ path }) => path));
  } finally {
    for (const one of dead) one.lock.release();
  }
}
