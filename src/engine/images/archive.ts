// An unpacked archive as image sources: `docker save`'s (manifest.json) or an OCI layout's (index.json).
// The archive is hostile: a path in it may lead anywhere, a digest may lie, and a blob may be a pipe that never answers.

import { createReadStream, lstatSync, readFileSync, realpathSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import { ImageError } from '../errors.ts';
import { configLimit, manifestLimit, parseManifest, sha256, verify } from '../../registry/manifest.ts';
import type { Descriptor, Platform } from '../../registry/oci.ts';
import { canonical, parseReference } from '../../registry/reference.ts';
import { selectManifest } from '../../registry/select.ts';
import { readConfig, type SourceImage } from './source.ts';

export interface ArchivedImage extends SourceImage {
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

class Archive {
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
      layers: Layers.map((path) => ({
        digest: undefined,
        size: archive.file(path).size,
        open: (signal: AbortSignal) => archive.stream(path, signal),
      })),
    };
  });
}

async function layoutImages(archive: Archive, platform: Platform): Promise<ArchivedImage[]> {
  const version = (archive.json('oci-layout') as { imageLayoutVersion?: unknown } | null)?.imageLayoutVersion;
  if (typeof version !== 'string' || !version.startsWith('1.'))
    throw damaged('its oci-layout is of an unknown version');
  const top = parseManifest(archive.read('index.json', manifestLimit), mediaTypeOf(archive), 'index.json');
  if (top.kind !== 'index') throw damaged('index.json is no index');
  const document = async (entry: Descriptor) => {
    const bytes = archive.read(archive.blob(entry), manifestLimit);
    verify(bytes, entry, `the manifest ${entry.digest}`);
    return parseManifest(bytes, entry.mediaType, `the manifest ${entry.digest}`);
  };
  // One reference may have an entry a platform instead of an index of its own.
  const groups = Map.groupBy(top.index.manifests, (entry) => referenceOf(entry) ?? entry.digest);
  const images: ArchivedImage[] = [];
  for (const entries of groups.values()) {
    const first = entries[0]!;
    const reference = referenceOf(first);
    const name = reference ?? first.digest;
    const root =
      entries.length === 1
        ? await document(first)
        : { ...top, index: { schemaVersion: 2 as const, manifests: entries } };
    const selected = await selectManifest(root, platform, document, name);
    const { config, layers } = selected.manifest;
    images.push({
      name,
      references: reference === undefined ? [] : [reference],
      manifest: selected,
      config: { digest: config.digest, bytes: await readConfig(config, name, archive.stream(archive.blob(config))) },
      layers: layers.map((layer) => ({
        digest: layer.digest,
        size: layer.size,
        open: (signal) => archive.stream(archive.blob(layer), signal),
      })),
    });
  }
  return images;
}

/** index.json need not say what it is: the layout does. */
function mediaTypeOf(archive: Archive): string {
  const { mediaType } = archive.json('index.json') as { mediaType?: unknown };
  return typeof mediaType === 'string' ? mediaType : 'application/vnd.oci.image.index.v1+json';
}

/** containerd writes the whole name, skopeo what it was told; a tag alone is no name. */
function referenceOf({ annotations }: Descriptor): string | undefined {
  const whole = annotations?.['io.containerd.image.name'];
  const short = annotations?.['org.opencontainers.image.ref.name'];
  const name = typeof whole === 'string' ? whole : typeof short === 'string' && /[/:]/.test(short) ? short : undefined;
  return name === undefined ? undefined : canonical(parseReference(name));
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

function damaged(why: string): ImageError {
  return new ImageError('ARCHIVE_INVALID', `the archive cannot be loaded: ${why}`);
}
