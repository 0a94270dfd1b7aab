// An unpacked archive as image sources: `docker save`'s (manifest.json) or an OCI layout's (index.json).
// The archive is hostile: a path in it may lead anywhere, a digest may lie, and a blob may be a pipe that never answers.

import { closeSync, createReadStream, lstatSync, openSync, readFileSync, readSync, realpathSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import { Readable } from 'node:stream';
import { createGzip, createZstdCompress } from 'node:zlib';
import { ImageError, NotFoundError } from '../errors.ts';
import { sha256 } from '../../native.ts';
import { configLimit, type Document, manifestLimit, parseManifest, verify } from '../../registry/manifest.ts';
import { type Descriptor, mediaTypes, type Platform } from '../../registry/oci.ts';
import { canonical, parseReference } from '../../registry/reference.ts';
import { selectManifest } from '../../registry/select.ts';
import { readConfig } from './source.ts';
import type { Compression, OutgoingImage, OutgoingLayer } from './transports/transport.ts';

const refName = 'org.opencontainers.image.ref.name';
const imageName = 'io.containerd.image.name';

export interface ArchivedImage extends OutgoingImage {
  /** Canonical. */
  references: string[];
}

/** Every image of the archive that was unpacked into `directory`; of an index, the one for the platform. */
export async function fromArchive(directory: string, platform: Platform): Promise<ArchivedImage[]> {
  const archive = new Archive(directory);
  if (archive.has('manifest.json')) return dockerImages(archive);
  if (archive.has('index.json') && archive.has('oci-layout')) return await layoutImages(archive, platform);
  throw damaged(
    archive.has('repositories')
      ? 'it is of a Docker older than 1.10: save it again with a newer one'
      : 'it has neither manifest.json (docker save) nor index.json with oci-layout (OCI); a root file system is for `import`',
  );
}

export class Archive {
  readonly #root: string;

  constructor(directory: string) {
    this.#root = realpathSync(directory);
  }

  has(name: string): boolean {
    return lstatSync(join(this.#root, name), { throwIfNoEntry: false }) !== undefined;
  }

  /** The real path of a regular file in the archive and its size. Nobody but us writes there, so it stays true. */
  file(name: string): { path: string; size: number } {
    let path: string;
    try {
      path = realpathSync(join(this.#root, name));
    } catch {
      throw damaged(`it lacks ${JSON.stringify(name)}: save it again`);
    }
    if (!path.startsWith(this.#root + sep)) throw damaged(`${JSON.stringify(name)} leads out of it`);
    const status = lstatSync(path);
    if (!status.isFile()) throw damaged(`${JSON.stringify(name)} is no regular file`);
    return { path, size: status.size };
  }

  read(name: string, limit: number): Buffer {
    const { path, size } = this.file(name);
    if (size > limit) throw damaged(`${JSON.stringify(name)} is larger than ${limit} bytes`);
    return readFileSync(path);
  }

  json(name: string): unknown {
    const bytes = this.read(name, manifestLimit);
    try {
      return JSON.parse(bytes.toString('utf8'));
    } catch {
      throw damaged(`${name} is not valid JSON`);
    }
  }

  async *stream(name: string, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    yield* createReadStream(this.file(name).path, { highWaterMark: 1 << 18, ...(signal && { signal }) });
  }

  /** A blob of an OCI layout; `verify` or the unpacker checks the bytes. */
  blob({ digest, size }: Descriptor): string {
    const name = `blobs/${digest.replace(':', '/')}`;
    const actual = this.file(name).size;
    if (actual === size) return name;
    throw new ImageError('SIZE_MISMATCH', `${name} is ${actual} bytes long where the archive promises ${size}`);
  }
}

function dockerImages(archive: Archive): ArchivedImage[] {
  const list = archive.json('manifest.json');
  if (!Array.isArray(list)) throw damaged('manifest.json is no list');
  return list.map((entry) => {
    const { Config, RepoTags, Layers } = (entry ?? {}) as Record<string, unknown>;
    const tags = RepoTags ?? [];
    if (typeof Config !== 'string' || !isStrings(tags) || !isStrings(Layers)) {
      throw damaged('manifest.json has an entry without Config and Layers');
    }
    const bytes = archive.read(Config, configLimit);
    const digest = sha256(bytes);
    // Docker names a config by its digest: in the root with .json, or as an OCI blob.
    const named = basename(Config, '.json');
    const name = tags[0] ?? digest;
    if (/^[0-9a-f]{64}$/.test(named)) verify(bytes, { digest: `sha256:${named}` }, `the config of ${name}`);
    return {
      name,
      references: tags.map((tag) => canonical(parseReference(tag))),
      config: { digest, bytes },
      manifest: undefined,
      layers: Layers.map((path) => fileLayer(archive, path)),
    };
  });
}

/** Docker's own layers are plain; others pack them. */
function fileLayer(archive: Archive, name: string): OutgoingLayer {
  const { path, size } = archive.file(name);
  const compression = compressionOf(path);
  const open = (signal: AbortSignal) => archive.stream(name, signal);
  const pack = (wanted: Compression, signal: AbortSignal) => {
    const packer = wanted === 'zstd' ? createZstdCompress() : createGzip();
    return { stream: Readable.from(open(signal)).compose(packer) };
  };
  return { digest: undefined, size, compression, open, ...(compression === 'none' && { pack }) };
}

function compressionOf(path: string): Compression {
  const start = Buffer.alloc(4);
  const file = openSync(path, 'r');
  try {
    readSync(file, start, 0, 4, 0);
  } finally {
    closeSync(file);
  }
  if (start.readUInt16BE(0) === 0x1f8b) return 'gzip';
  return start.readUInt32LE(0) === 0xfd2fb528 ? 'zstd' : 'none';
}

export interface LayoutEntries {
  /** Those of a name, or all. */
  entries: Descriptor[];
  document(entry: Descriptor): Promise<Document>;
  blob(descriptor: Descriptor, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

/** What a layout's index.json has; of a word as `oci:PATH:WORD` has it, what has that name, or is at the place `@N`. */
export function layoutEntries(from: string | Archive, reference?: string): LayoutEntries {
  const archive = typeof from === 'string' ? new Archive(from) : from;
  const version = (archive.json('oci-layout') as { imageLayoutVersion?: unknown } | null)?.imageLayoutVersion;
  if (typeof version !== 'string' || !version.startsWith('1.'))
    throw damaged('its oci-layout is of an unknown version');
  const top = parseManifest(archive.read('index.json', manifestLimit), mediaTypeOf(archive), 'index.json');
  if (top.kind !== 'index') throw damaged('index.json is no index');
  const all = top.index.manifests;
  const place = /^@(\d+)$/.exec(reference ?? '')?.[1];
  const entries =
    place === undefined ? all.filter((entry) => isCalled(entry, reference)) : all.slice(+place, +place + 1);
  if (reference !== undefined && entries.length === 0) {
    const names = all.map((entry) => entry.annotations?.[refName] ?? entry.digest).join(', ');
    throw new NotFoundError('IMAGE_NOT_FOUND', `no image ${reference} in the layout: it has ${names || 'none'}`);
  }
  return {
    entries,
    async document(entry) {
      const bytes = archive.read(archive.blob(entry), manifestLimit);
      verify(bytes, entry, `the manifest ${entry.digest}`);
      return parseManifest(bytes, entry.mediaType, `the manifest ${entry.digest}`);
    },
    blob: (descriptor, signal) => archive.stream(archive.blob(descriptor), signal),
  };
}

async function layoutImages(archive: Archive, platform: Platform): Promise<ArchivedImage[]> {
  const layout = layoutEntries(archive);
  // One reference may have an entry a platform instead of an index of its own.
  const groups = Map.groupBy(layout.entries, (entry) => referenceOf(entry) ?? entry.digest);
  const images: ArchivedImage[] = [];
  for (const entries of groups.values()) {
    const reference = referenceOf(entries[0]!);
    const image = await layoutImage({ ...layout, entries }, platform, reference ?? entries[0]!.digest);
    images.push({ ...image, references: reference === undefined ? [] : [reference] });
  }
  return images;
}

/** The image for a platform of entries that are one image's. */
export async function layoutImage(
  { entries, document, blob }: LayoutEntries,
  platform: Platform,
  name: string,
): Promise<OutgoingImage> {
  const root =
    entries.length === 1
      ? await document(entries[0]!)
      : { ...synthetic, index: { schemaVersion: 2 as const, manifests: entries } };
  const selected = await selectManifest(root, platform, document, name);
  const { config, layers } = selected.manifest;
  return {
    name,
    manifest: selected,
    config: { digest: config.digest, bytes: await readConfig(config, name, blob(config)) },
    layers: layers.map((layer) => ({
      digest: layer.digest,
      size: layer.size,
      open: (signal) => blob(layer, signal),
    })),
  };
}

/** An index for entries that have none of their own. */
const synthetic = { kind: 'index' as const, mediaType: mediaTypes.ociIndex, digest: '', bytes: Buffer.alloc(0) };

function isCalled(entry: Descriptor, reference: string | undefined): boolean {
  if (reference === undefined) return true;
  const { [refName]: word, [imageName]: whole } = entry.annotations ?? {};
  return word === reference || whole === reference || entry.digest === reference;
}

/** index.json need not say what it is: the layout does. */
function mediaTypeOf(archive: Archive): string {
  const { mediaType } = archive.json('index.json') as { mediaType?: unknown };
  return typeof mediaType === 'string' ? mediaType : 'application/vnd.oci.image.index.v1+json';
}

/** containerd writes the whole name, skopeo what it was told; a tag alone is no name. */
function referenceOf({ annotations }: Descriptor): string | undefined {
  const whole = annotations?.[imageName];
  const short = annotations?.[refName];
  const name = typeof whole === 'string' ? whole : typeof short === 'string' && /[/:]/.test(short) ? short : undefined;
  return name === undefined ? undefined : canonical(parseReference(name));
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

function damaged(why: string): ImageError {
  return new ImageError('ARCHIVE_INVALID', `the archive cannot be loaded: ${why}`);
}
