// An OCI image layout as a sink: a directory (`oci:`), or a tar of one (`oci-archive:`).

import { ImageError } from '../../errors.ts';
import type { Document } from '../../../registry/manifest.ts';
import { type Descriptor, mediaTypes } from '../../../registry/oci.ts';
import { parseReference } from '../../../registry/reference.ts';
import { type Files, type WrittenFile } from './files.ts';
import type { Compression, Content, Sink } from './transport.ts';

const refName = 'org.opencontainers.image.ref.name';
/** containerd's, where the other holds a tag alone. */
const imageName = 'io.containerd.image.name';

export class LayoutSink implements Sink {
  readonly compression: Compression = 'gzip';
  readonly parallel = 1;
  readonly #files: Files;
  readonly #written = new Map<string, number>();
  readonly #entries: Descriptor[] = [];

  constructor(files: Files) {
    this.#files = files;
  }

  async blob(content: Content, signal: AbortSignal): Promise<Descriptor> {
    const { digest, mediaType } = content;
    const known = digest === undefined ? undefined : this.#written.get(digest);
    if (digest !== undefined && known !== undefined) return { mediaType, digest, size: known };
    const written = await this.#files.add(content.open(signal), blobName);
    this.#written.set(written.digest, written.size);
    if (digest !== undefined && written.digest !== digest) throw wrongDigest(digest, written);
    return { mediaType, ...written };
  }

  async manifest(document: Document, names: readonly string[] | undefined): Promise<void> {
    const { mediaType, bytes } = document;
    const written = await this.#files.add(once(bytes), blobName);
    const entry = { mediaType, ...written };
    if (names === undefined) return;
    if (names.length === 0) this.#entries.push(entry);
    for (const name of names) this.#entries.push({ ...entry, annotations: annotationsOf(name) });
  }

  async finish(): Promise<void> {
    const before = await this.#entriesBefore();
    const replaced = new Set(this.#entries.map(({ annotations }) => annotations?.[refName]));
    const same = ({ digest, annotations }: Descriptor) =>
      annotations?.[refName] === undefined
        ? this.#entries.some((entry) => entry.digest === digest)
        : replaced.has(annotations[refName]);
    const manifests = [...before.filter((entry) => !same(entry)), ...this.#entries];
    const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
    await this.#files.add(once(json({ imageLayoutVersion: '1.0.0' })), () => 'oci-layout');
    await this.#files.add(once(json(index)), () => 'index.json');
    await this.#files.finish();
  }

  discard(): Promise<void> {
    return this.#files.discard();
  }

  async #entriesBefore(): Promise<Descriptor[]> {
    const bytes = await this.#files.read('index.json');
    if (bytes === undefined) return [];
    try {
      const { manifests } = JSON.parse(bytes.toString('utf8')) as { manifests: Descriptor[] };
      if (Array.isArray(manifests)) return manifests;
    } catch {
      // Said below.
    }
    throw new ImageError('ARCHIVE_INVALID', 'the layout cannot be added to: its index.json is damaged');
  }
}

/** A whole name is told to containerd and Docker as theirs, and its tag to the others; a word of the user's stays it. */
function annotationsOf(name: string): Record<string, string> {
  if (!/[/:]/.test(name)) return { [refName]: name };
  const { tag } = parseReference(name);
  return { ...(tag !== undefined && { [refName]: tag }), [imageName]: name };
}

export function wrongDigest(promised: string, { digest }: WrittenFile): ImageError {
  return new ImageError('DIGEST_MISMATCH', `a blob has the digest ${digest}, not ${promised}: do not trust its source`);
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

export function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function blobName({ digest }: WrittenFile): string {
  return `blobs/${digest.replace(':', '/')}`;
}
