// ROOT/partial: what has come of large blobs so far, so that a pull which is killed, or whose network fails, is continued by the next.
// One file a blob, named by its digest, locked while somebody adds to it. Its bytes are believed no more than the network's:
// they go through the same hash, and are thrown away where the sum is wrong.

import {
  closeSync,
  createReadStream,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { tryLock } from '../../native.ts';
import type { Descriptor } from '../../registry/oci.ts';

/** What is fetched in a moment is not worth a file: bytes. */
const smallest = 1 << 20;
/** Nobody comes back for it after this: milliseconds. */
const lifetime = 7 * 24 * 3600 * 1000;
/** Bytes at a time of what is read back. */
const piece = 256 << 10;

/** Gives the bytes of a blob from byte `from` on. */
export type Fetch = (from: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;

export class Downloads {
  readonly #directory: string;

  constructor(root: string) {
    this.#directory = join(root, 'partial');
  }

  /** The way for one blob: what is here of it first, then the rest from where it comes, which is kept. */
  of({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, fetch: Fetch): Download {
    if (size <= smallest) return new Download(undefined, size, fetch);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    return new Download(join(this.#directory, digest.slice('sha256:'.length)), size, fetch);
  }

  /** Whatever of it nobody is adding to just now. */
  list(): { digest: string; size: number; modified: Date }[] {
    return this.#names().flatMap((name) => {
      const stat = statSync(join(this.#directory, name), { throwIfNoEntry: false });
      return stat ? [{ digest: `sha256:${name}`, size: stat.blocks * 512, modified: stat.mtime }] : [];
    });
  }

  /** Removes what is older than a week, or than so many milliseconds. Returns the bytes that this frees on the disk. */
  sweep(age = lifetime): number {
    let freed = 0;
    for (const { digest, size, modified } of this.list()) {
      if (Date.now() - modified.getTime() < age) continue;
      if (remove(join(this.#directory, digest.slice('sha256:'.length)))) freed += size;
    }
    return freed;
  }

  #names(): string[] {
    try {
      return readdirSync(this.#directory).filter((name) => /^[0-9a-f]{64}$/.test(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }
}

export class Download {
  readonly #path: string | undefined;
  readonly #size: number;
  readonly #fetch: Fetch;
  #kept = 0;
  /** Open and locked while its bytes are asked for. */
  #file: number | undefined;

  constructor(path: string | undefined, size: number, fetch: Fetch) {
    this.#path = path;
    this.#size = size;
    this.#fetch = fetch;
  }

  /** Bytes of an earlier try that were among those given last. */
  get kept(): number {
    return this.#kept;
  }

  async *bytes(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    this.#kept = 0;
    // Another process that fetches the same for another image has the file: then it is simply fetched.
    const file = this.#path === undefined ? undefined : tryLock(this.#path);
    if (file === undefined) {
      yield* this.#fetch(0, signal);
      return;
    }
    this.#file = file;
    try {
      const { size } = fstatSync(file);
      if (size > this.#size) ftruncateSync(file, 0);
      else this.#kept = size;
      if (this.#kept > 0) {
        yield* createReadStream('', {
          fd: file,
          autoClose: false,
          start: 0,
          end: this.#kept - 1,
          highWaterMark: piece,
          signal,
        });
      }
      if (this.#kept < this.#size) yield* recorded(this.#fetch(this.#kept, signal), file, this.#kept);
    } finally {
      if (this.#file === file) {
        this.#file = undefined;
        if (fstatSync(file).size === 0) rmSync(this.#path!, { force: true });
      }
      closeSync(file);
    }
  }

  /** Nobody needs the file any more: the blob is in the store, or it was not what it should be. */
  forget(): void {
    if (this.#path === undefined) return;
    if (this.#file === undefined) remove(this.#path);
    else rmSync(this.#path, { force: true });
    this.#file = undefined;
  }
}

/** Writes down what passes, until the disk refuses: then it passes all the same. */
async function* recorded(
  bytes: AsyncIterable<Uint8Array>,
  file: number,
  at: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let isRecording = true;
  for await (const piece of bytes) {
    if (isRecording) {
      try {
        for (let done = 0; done < piece.length;) done += writeSync(file, piece, done, piece.length - done, at + done);
        at += piece.length;
      } catch {
        isRecording = false;
        // The room is for the layer.
        ftruncateSync(file, 0);
      }
    }
    yield piece;
  }
}

/** False where somebody is adding to it. */
function remove(path: string): boolean {
  const file = tryLock(path);
  if (file === undefined) return false;
  rmSync(path, { force: true });
  closeSync(file);
  return true;
}
