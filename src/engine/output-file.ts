// A file of the user's that is there whole or not at all. Until then it has no name (O_TMPFILE), so that nothing is left of
// it however its writer ends; where the file system has no such files, a name that the next writer there takes away.

import { constants, readdirSync, rmSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { constants as system } from 'node:os';
import { join } from 'node:path';
import { linkDescriptor } from '../native.ts';
import { KapselError } from './errors.ts';
import { randomHex } from './random.ts';
import { type Lock, tryLock } from './images/locks.ts';

/** Of Linux on x86-64 and arm64 alike but for O_DIRECTORY, which it contains and Node knows. */
const nameless = 0o20000000 | constants.O_DIRECTORY;

const half = /^\.kapsel-[0-9a-f]{16}\.part$/;

export class OutputFile {
  readonly handle: FileHandle;
  readonly #directory: string;
  /** What it is called until it is whole, under its lock, where it has to have a name. */
  readonly #named: { path: string; lock: Lock } | undefined;

  private constructor(handle: FileHandle, directory: string, named?: { path: string; lock: Lock }) {
    this.handle = handle;
    this.#directory = directory;
    this.#named = named;
  }

  /** In a directory that exists. */
  static async open(directory: string, mode = 0o600): Promise<OutputFile> {
    try {
      return new OutputFile(await open(directory, constants.O_RDWR | nameless, mode), directory);
    } catch (error) {
      // EISDIR: a file system that does not even know the flag.
      if (!['EOPNOTSUPP', 'ENOTSUP', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
    return await OutputFile.openNamed(directory, mode);
  }

  /** For a file system that has no nameless files. */
  static async openNamed(directory: string, mode = 0o600): Promise<OutputFile> {
    sweep(directory);
    const path = partial(directory);
    const lock = tryLock(path);
    if (!lock) throw new KapselError('LOCK_IN_USE', `${path} is locked by another process`);
    try {
      const handle = await open(path, 'r+');
      await handle.chmod(mode & ~process.umask());
      return new OutputFile(handle, directory, { path, lock });
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Everything to the disk, then the name, which another file may have had. */
  async keep(path: string): Promise<void> {
    await this.handle.sync();
    if (this.#named) await rename(this.#named.path, path);
    else if (!this.#link(path)) await this.#replace(path);
  }

  /** What was not kept is gone. */
  async close(): Promise<void> {
    await this.handle.close();
    this.#named?.lock.release();
  }

  /** linkat(2) replaces nothing: whoever dies between the two leaves a name for the next, who may take it while we live. */
  async #replace(path: string): Promise<void> {
    for (;;) {
      sweep(this.#directory);
      const between = partial(this.#directory);
      this.#link(between);
      try {
        return await rename(between, path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        rmSync(between, { force: true });
        throw error;
      }
    }
  }

  /** False where something has the name. */
  #link(path: string): boolean {
    try {
      linkDescriptor(this.handle.fd, path);
      return true;
    } catch (error) {
      if (error instanceof KapselError && error.errno === system.errno.EEXIST) return false;
      throw error;
    }
  }
}

/** Takes away what writers that died have left. */
function sweep(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (!half.test(name)) continue;
    try {
      tryLock(join(directory, name))?.release();
    } catch {
      // Another user's, in a directory that both may write to.
    }
  }
}

function partial(directory: string): string {
  return join(directory, `.kapsel-${randomHex(8)}.part`);
}
