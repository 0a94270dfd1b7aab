// ROOT/blobs/sha256: the manifests and configs of images, as they came. Layers are not kept packed.

import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

/** Milliseconds after which a blob without an image has been forgotten. */
const abandoned = 3_600_000;

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

  /** Removes what nobody refers to: a process that died left it, unless it is so young that it may live and refer soon. */
  async sweep(referenced: Iterable<string>): Promise<void> {
    const names = await readdir(this.#directory).catch(() => []);
    const kept = new Set([...referenced].map((digest) => digest.slice('sha256:'.length)));
    for (const name of names.filter((one) => !kept.has(one))) {
      const path = join(this.#directory, name);
      const status = await stat(path).catch(() => undefined);
      if (status && Date.now() - status.mtimeMs > abandoned) await rm(path, { force: true });
    }
  }

  async remove(digest: string): Promise<void> {
    await rm(this.#path(digest), { force: true });
  }

  #path(digest: string): string {
    return join(this.#directory, digest.slice('sha256:'.length));
  }
}
