// ROOT/blobs/sha256: the manifests and configs of images, as they came. Layers are not kept packed.

import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { verify } from '../../registry/manifest.ts';
import { ImageError } from '../errors.ts';

/** Milliseconds after which a blob without an image has been forgotten. */
const patience = 3_600_000;

export class Blobs {
  readonly #directory: string;

  constructor(root: string) {
    this.#directory = join(root, 'blobs', 'sha256');
  }

  /** The caller has checked the digest. Whoever writes the same blob at the same time writes the same bytes. */
  async write(digest: string, bytes: Uint8Array): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const path = this.#path(digest);
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
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
      throw error;
    }
  }

  /** DIGEST_MISMATCH where the disk gives back something else than was written. */
  async read(digest: string): Promise<Buffer> {
    const bytes = await readFile(this.#path(digest)).catch((cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'ENOENT' ? 'it is not there any more' : cause.message;
      throw new ImageError('IMAGE_DAMAGED', `cannot read ${digest} of an image: ${why}: pull the image again`, {
        cause,
      });
    });
    verify(bytes, { digest }, 'a document of the store');
    return bytes;
  }

  /** Removes what is abandoned. */
  async sweep(referenced: Iterable<string>): Promise<void> {
    for (const path of await this.abandoned(referenced)) await rm(path, { force: true });
  }

  /** What nobody refers to: a process that died left it, unless it is so young that it may live and refer soon. */
  async abandoned(referenced: Iterable<string>): Promise<string[]> {
    const names = await readdir(this.#directory).catch(() => []);
    const kept = new Set([...referenced].map((digest) => digest.slice('sha256:'.length)));
    const found: string[] = [];
    for (const name of names.filter((one) => !kept.has(one))) {
      const path = join(this.#directory, name);
      const status = await stat(path).catch(() => undefined);
      if (status && Date.now() - status.mtimeMs > patience) found.push(path);
    }
    return found;
  }

  async remove(digest: string): Promise<void> {
    await rm(this.#path(digest), { force: true });
  }

  #path(digest: string): string {
    return join(this.#directory, digest.slice('sha256:'.length));
  }
}
