// The images of one engine: finding, fetching, naming, describing and removing them.
// How bytes arrive is images/ingest.ts's and src/registry's; what a row looks like is the database's.

import { openSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { Database, ImageRow } from '../native.ts';
import { RegistryClient, type RegistryOptions } from '../registry/client.ts';
import type { ImageConfig, Platform } from '../registry/oci.ts';
import { distance, formatPlatform, hostPlatform, parsePlatform } from '../registry/platform.ts';
import { canonical, parseReference, type Reference } from '../registry/reference.ts';
import { KapselError, NotFoundError, StorageError } from './errors.ts';
import { fromArchive } from './images/archive.ts';
import { Blobs } from './images/blobs.ts';
import { applyChanges } from './images/changes.ts';
import { type Composed, composeImage, composeLayer } from './images/compose.ts';
import { HostImages, hostPrefix } from './images/host.ts';
import { ingest, type Ingested } from './images/ingest.ts';
import { Layers } from './images/layers.ts';
import { planRemoval } from './images/removal.ts';
import { withScratch } from './images/scratch.ts';
import { fromRegistry, type SourceImage } from './images/source.ts';
import type {
  EnsureOptions,
  ImageInspect,
  ImageSummary,
  ImportOptions,
  LoadResult,
  PullResult,
  ReadyImage,
  RemovedItem,
  TransferOptions,
} from './images/types.ts';
import { inspection, shown, summaries } from './images/words.ts';
import { type Input, unpack } from './images/worker.ts';

export type * from './images/types.ts';

/** What images need of their engine. */
export interface ImagesHost {
  /** ROOT: absolute, exists when the first method is called. */
  readonly root: string;
  /** Asked for at the first use. */
  readonly database: Database;
  /** Registries spoken to over plain http, or https without a known certificate: `host[:port]`. Loopback needs no entry. */
  readonly insecureRegistries?: readonly string[] | undefined;
}

/** Between asking whether a layer is there and recording the image, another process may remove it: then again. */
const tries = 3;

export class Images {
  readonly #host: ImagesHost;
  readonly #registry: RegistryClient;
  #opened: { layers: Layers; blobs: Blobs; hosts: HostImages } | undefined;

  constructor(host: ImagesHost, registry: RegistryOptions = {}) {
    this.#host = host;
    this.#registry = new RegistryClient({ insecure: host.insecureRegistries, ...registry });
  }

  /** The image, fetched or made where the policy says so. `host:…` is made from this machine's own programs. */
  async ensure(reference: string, options: EnsureOptions = {}): Promise<ReadyImage> {
    const { pull = 'missing', platform } = options;
    if (pull !== 'always') {
      const present = this.resolve(reference);
      const fits = present && (platform === undefined || runs(present.config, platformOf(platform)));
      if (fits && (pull === 'never' || !this.#isStale(reference, present.id))) return present;
      if (pull === 'never' || isId(reference)) throw notFound(reference, present && formatPlatform(present.config));
    }
    const { id, reference: name, config, layers } = await this.pull(reference, options);
    return { id, reference: name, config, layers };
  }

  /** Asks the registry, whatever is here. */
  async pull(reference: string, options: TransferOptions = {}): Promise<PullResult> {
    if (reference.startsWith(hostPrefix)) return await this.#makeHost(reference, options);
    const parsed = parseReference(reference);
    const name = canonical(parsed);
    const platform = platformOf(options.platform);
    const image = await fromRegistry(this.#registry.repository(parsed), shown(name), platform, options.signal);
    const byDigest = `${parsed.registry}/${parsed.repository}@${image.rootDigest}`;
    const names = parsed.digest === undefined ? [name, byDigest] : [byDigest];
    const ingested = await this.#ingest(image, names, 'pull', options);
    return {
      ...this.#ready(this.#host.database.image(image.config.digest), shown(names[0]!)),
      digest: image.rootDigest,
      changed: ingested.changed,
    };
  }

  /** Every image of a `docker save` or OCI archive: a path, or a stream. */
  async load(archive: string | Readable, options: TransferOptions = {}): Promise<LoadResult[]> {
    const { root } = this.#host;
    return await withScratch(root, async (directory) => {
      await unpack(inputOf(archive), { into: directory, mode: 'archive', signal: options.signal });
      const results: LoadResult[] = [];
      for (const image of await fromArchive(directory, platformOf(options.platform))) {
        await this.#ingest(image, image.references, 'load', options);
        results.push({ id: image.config.digest, references: image.references.map(shown) });
      }
      return results;
    });
  }

  /** A root file system's tar as an image of one layer. Resolves to its id. */
  async import(archive: string | Readable, options: ImportOptions = {}): Promise<string> {
    const { changes = [], message, signal } = options;
    const platform = platformOf(options.platform);
    const reference = options.reference === undefined ? undefined : taggable(options.reference);
    const config = applyChanges({}, changes);
    const { layers } = this.#open();
    const layer = await composeLayer(layers, (into) => unpack(inputOf(archive), into), signal);
    const about = { created: new Date().toISOString(), config, ...(message && { comment: message }) };
    const image = composeImage(layer, platform, about, 'import');
    await this.#record(image, reference === undefined ? [] : [canonical(reference)], 'import');
    return image.id;
  }

  /** Newest first; an untagged image is there once, with nulls. */
  list(): ImageSummary[] {
    return this.#host.database.images().flatMap(summaries);
  }

  /** IMAGE_NOT_FOUND where there is none. */
  inspect(reference: string): ImageInspect {
    const found = this.#find(reference);
    if (!found) throw notFound(reference);
    return inspection(found.row);
  }

  /** What `reference` (a name, an id, the beginning of an id) means in this store, or null. Asks no registry. */
  resolve(reference: string): ReadyImage | null {
    const found = this.#find(reference);
    if (!found) return null;
    const { row, name } = found;
    const { layers } = this.#open();
    // Somebody may have deleted a tree by hand; a pull brings it back.
    if (row.diffIds.some((diffId) => !layers.find(diffId))) return null;
    return this.#ready(row, name === undefined ? row.id : shown(name));
  }

  /** Docker's `rmi`: takes the name away, and the image with its last one. IMAGE_IN_USE where a container needs it. */
  async remove(reference: string, { force = false }: { force?: boolean | undefined } = {}): Promise<RemovedItem[]> {
    const found = this.#find(reference);
    if (!found) throw notFound(reference);
    const { database } = this.#host;
    const { row, name } = found;
    const plan = planRemoval(database, row, name, force);
    const removed: RemovedItem[] = plan.untag.map((stored) => ({ untagged: shown(stored) }));
    if (!plan.delete) {
      for (const stored of plan.untag) database.untag(stored);
      return removed;
    }
    const unused = database.removeImage(row.id, force);
    await this.discardLayers(unused);
    const { blobs } = this.#open();
    await Promise.all([row.id, row.manifestDigest].map((digest) => digest && blobs.remove(digest)));
    return [...removed, { deleted: row.id }];
  }

  /** Deletes the trees of layers that the database has just forgotten (`removeImage`, `removeContainer`). */
  async discardLayers(diffIds: readonly string[]): Promise<void> {
    if (diffIds.length > 0) await this.#open().layers.remove(diffIds);
  }

  /** Ends idle connections. */
  close(): void {
    this.#registry.close();
  }

  async #makeHost(reference: string, { signal }: TransferOptions): Promise<PullResult> {
    const image = await this.#open().hosts.make(reference, signal);
    const before = this.#find(reference)?.row.id;
    await this.#record(image, [reference], 'import');
    const row = this.#host.database.image(image.id);
    return { ...this.#ready(row, reference), digest: undefined, changed: before !== image.id };
  }

  /** A `host:` image whose programs have changed since. */
  #isStale(reference: string, id: string): boolean {
    return reference.startsWith(hostPrefix) && this.#open().hosts.current(reference) !== id;
  }

  async #ingest(
    image: SourceImage,
    references: string[],
    action: 'pull' | 'load',
    options: TransferOptions,
  ): Promise<Ingested> {
    const { layers } = this.#open();
    for (let attempt = 1; ; attempt++) {
      const ingested = await ingest(layers, image, options);
      const { config, diffIds, size } = ingested;
      try {
        const { digest: id, bytes: configBytes } = image.config;
        await this.#record({ id, config, configBytes, manifest: image.manifest, diffIds, size }, references, action);
        return ingested;
      } catch (error) {
        if (!(error instanceof KapselError) || error.code !== 'LAYER_NOT_FOUND' || attempt === tries) throw error;
      }
    }
  }

  /** Documents first, then the row: an image that is listed is complete. */
  async #record(
    image: Omit<Composed, 'manifest'> & { manifest: Composed['manifest'] | undefined },
    references: string[],
    action: 'pull' | 'load' | 'import',
  ): Promise<void> {
    const { database } = this.#host;
    const { blobs } = this.#open();
    const { id, config, configBytes, manifest, diffIds, size } = image;
    const known = this.#row(id);
    const manifestDigest = manifest?.digest ?? known?.manifestDigest ?? null;
    const complete =
      known?.manifestDigest === manifestDigest && references.every((name) => known.references.includes(name));
    if (complete) return;
    if (known === undefined) await blobs.write(id, configBytes);
    if (manifest && known?.manifestDigest !== manifest.digest) await blobs.write(manifest.digest, manifest.bytes);
    const createdAt = config.created ?? null;
    const platform = formatPlatform(config);
    database.insertImage({ id, manifestDigest, config, diffIds, size, createdAt, platform, references }, action);
    const replaced = known?.manifestDigest;
    if (replaced && replaced !== manifestDigest) await blobs.remove(replaced);
  }

  /** The row, and the stored name it was found by; none where it was an id. */
  #find(reference: string): { row: ImageRow; name: string | undefined } | undefined {
    const name = storedName(reference);
    const named = name === undefined ? undefined : this.#row(name);
    if (named) return { row: named, name };
    const row = isId(reference) ? this.#row(reference) : undefined;
    return row && { row, name: undefined };
  }

  #row(key: string): ImageRow | undefined {
    try {
      return this.#host.database.image(key);
    } catch (error) {
      if (error instanceof KapselError && error.code === 'IMAGE_NOT_FOUND') return undefined;
      throw error;
    }
  }

  #ready(row: ImageRow, reference: string): ReadyImage {
    const { layers } = this.#open();
    // Overlay takes no directory twice; of a layer that comes twice, the upper one hides the lower entirely.
    const topmostFirst = [...new Set(row.diffIds.toReversed())];
    return {
      id: row.id,
      reference,
      config: row.config as ImageConfig,
      layers: topmostFirst.map((diffId) => layers.path(diffId)),
    };
  }

  #open(): { layers: Layers; blobs: Blobs; hosts: HostImages } {
    if (!this.#opened) {
      const { root, database } = this.#host;
      const layers = new Layers(root, database);
      this.#opened = { layers, blobs: new Blobs(root), hosts: new HostImages(root, layers) };
    }
    return this.#opened;
  }
}

/** The name under which a reference is stored; undefined where it can only be an id. */
function storedName(reference: string): string | undefined {
  if (reference.startsWith(hostPrefix)) return reference;
  if (isWholeId(reference) || reference.startsWith('sha256:')) return undefined;
  const parsed = parseReference(reference);
  // With a digest, the tag says nothing more.
  return canonical(parsed.digest === undefined ? parsed : { ...parsed, tag: undefined });
}

/** An id or the beginning of one. */
function isId(reference: string): boolean {
  return /^(sha256:)?[0-9a-f]{1,64}$/.test(reference);
}

function isWholeId(reference: string): boolean {
  return /^(sha256:)?[0-9a-f]{64}$/.test(reference);
}

function platformOf(platform: string | Platform | undefined): Platform {
  if (platform === undefined) return hostPlatform();
  return typeof platform === 'string' ? parsePlatform(platform) : platform;
}

function runs(config: ImageConfig, wanted: Platform): boolean {
  return distance(wanted, config) !== undefined;
}

/** A name that can be given: no digest, which only content has. */
function taggable(reference: string): Reference {
  const parsed = parseReference(reference);
  if (parsed.digest === undefined) return parsed;
  throw new KapselError(
    'REFERENCE_INVALID',
    `cannot name an image ${reference}: a name for a new image has no digest`,
    {
      exitCode: 125,
    },
  );
}

function inputOf(archive: string | Readable): Input {
  if (typeof archive !== 'string') return { bytes: () => archive };
  try {
    return { fd: openSync(archive, 'r') };
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (cause as Error).message;
    throw new StorageError('ARCHIVE_UNREADABLE', `cannot read ${archive}: ${reason}`, { cause });
  }
}

function notFound(reference: string, platform?: string | null | undefined): NotFoundError {
  if (!platform) return new NotFoundError('IMAGE_NOT_FOUND', `No such image: ${reference}`);
  const message = `image with reference ${reference} was found but it is for ${platform}, not for the platform asked for`;
  return new NotFoundError('PLATFORM_NOT_FOUND', message);
}
