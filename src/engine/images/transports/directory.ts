// skopeo's `dir:` as a sink and a source: a manifest and its blobs side by side, called by their digests.

import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { ImageError } from '../../errors.ts';
import { type Document, manifestLimit, parseManifest, verify } from '../../../registry/manifest.ts';
import type { Descriptor } from '../../../registry/oci.ts';
import { Archive } from '../archive.ts';
import type { Files, WrittenFile } from './files.ts';
import { once, wrongDigest } from './layout.ts';
import type { Compression, Content, Sink, Tree } from './transport.ts';

export class DirectorySink implements Sink {
  readonly compression: Compression = 'gzip';
  readonly parallel = 1;
  readonly #files: Files;
  readonly #written = new Map<string, number>();

  constructor(files: Files) {
    this.#files = files;
  }

  async blob({ mediaType, digest, open }: Content, signal: AbortSignal): Promise<Descriptor> {
    const known = digest === undefined ? undefined : this.#written.get(digest);
    if (digest !== undefined && known !== undefined) return { mediaType, digest, size: known };
    const written = await this.#files.add(open(signal), fileName);
    this.#written.set(written.digest, written.size);
    if (digest !== undefined && written.digest !== digest) throw wrongDigest(digest, written);
    return { mediaType, ...written };
  }

  async manifest({ bytes }: Document, names: readonly string[] | undefined): Promise<void> {
    const part = (written: WrittenFile) => `${fileName(written)}.manifest.json`;
    await this.#files.add(once(bytes), names === undefined ? part : () => 'manifest.json');
  }

  async finish(): Promise<void> {
    await this.#files.add(once(Buffer.from('Directory Transport Version: 1.1\n')), () => 'version');
    await this.#files.finish();
  }

  discard(): Promise<void> {
    return this.#files.discard();
  }
}

export function directoryTree(path: string): Tree {
  const archive = new Archive(path);
  const read = (name: string, entry?: Descriptor): Document => {
    const bytes = archive.read(name, manifestLimit);
    if (entry) verify(bytes, entry, `the manifest ${entry.digest}`);
    return parseManifest(bytes, entry?.mediaType, join(path, name));
  };
  return {
    root: read('manifest.json'),
    document: async (entry) => read(`${fileName(entry)}.manifest.json`, entry),
    blob({ digest, size }, signal) {
      const file = archive.file(fileName({ digest }));
      if (file.size !== size) {
        throw new ImageError('SIZE_MISMATCH', `${digest} is ${file.size} bytes long where ${size} were promised`);
      }
      return createReadStream(file.path, { highWaterMark: 1 << 18, ...(signal && { signal }) });
    },
  };
}

function fileName({ digest }: { digest: string }): string {
  return digest.slice('sha256:'.length);
}
