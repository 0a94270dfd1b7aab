// ROOT/blobs/sha256: the manifests and configs of images, as they came. Layers are not kept packed.

import { readFileSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { verify } from '../../registry/manifest.ts';
import { diskError } from '../disk.ts';
import { ImageError } from '../errors.ts';
import { randomHex } from '../random.ts';
import { lock } from './locks.ts';

export class Blobs {
  readonly #root: string;
  readonly #directory: string;

  constructor(root: string) {
    this.#root = join(root, 'blobs');
    this.#directory = join(this.#root, 'sha256');
  }

  /**
   * Between writing a blob and recording the row that refers to it nobody else may look for what no row refers to: that
   * is removed here, when the work has ended. Whoever holds layers takes this last, so that nobody waits for a download.
   */
  async exclusively(referenced: () => Iterable<string>, work?: () => Promise<void>): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const held = await lock(join(this.#root, '.lock'));
    try {
      await work?.();
    } finally {
      try {
        for (const path of await this.abandoned(referenced())) await rm(path, { force: true });
      } finally {
        held.release();
      }
    }
  }

  /** Within `exclusively`. The caller has checked the digest. What is there as it should be stays. */
  async write(digest: string, bytes: Uint8Array): Promise<void> {
    if (this.find(digest)) return;
    const path = this.#path(digest);
    const temporary = `${path}.${randomHex(6)}`;
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw diskError(error);
    }
  }

  /** DIGEST_MISMATCH where the disk gives back something else than was written. */
  read(digest: string): Buffer {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.#path(digest));
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      const why = code === 'ENOENT' ? 'it is not there any more' : message;
      throw new ImageError('IMAGE_DAMAGED', `cannot read ${digest} of an image: ${why}: pull the image again`, {
        cause,
      });
    }
    verify(bytes, { digest }, 'a document of the store');
    return bytes;
  }

  /** Undefined where it is not there, or is not what it should be. */
  find(digest: string): Buffer | undefined {
    try {
      return this.read(digest);
    } catch {
      return undefined;
    }
  }

  /** What nobody refers to: of an image that was removed, or left by a process that died. */
  async abandoned(referenced: Iterable<string>): Promise<string[]> {
    const names = await readdir(this.#directory).catch(() => []);
    const kept = new Set([...referenced].map((digest) => digest.slice('sha256:'.length)));
    return names.filter((name) => !kept.has(name)).map((name) => join(this.#directory, name));
  }

  #path(digest: string): string {
    return join(this.#directory, digest.slice('sha256:'.length));
  }
}
