// The images of one engine: finding, fetching, naming, describing and removing them.
// How bytes arrive is images/ingest.ts's and src/registry's; what a row looks like is the database's.

import { existsSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { Database, ImageRow } from '../native.ts';
import type { RegistryOptions } from '../registry/client.ts';
import type { ImageConfig, Platform } from '../registry/oci.ts';
import { distance, formatPlatform, parsePlatform } from '../registry/platform.ts';
import { canonical } from '../registry/reference.ts';
import { KapselError, NotFoundError } from './errors.ts';
import { hostPrefix, recall } from './images/host-memory.ts';
import { historyOf } from './images/history.ts';
import { layerPath } from './images/layer-path.ts';
import { listed } from './images/list.ts';
import { isId, storedName, taggable } from './images/names.ts';
import { isNeeded, planRemoval } from './images/removal.ts';
import type { Transfer } from './images/transfer.ts';
import type {
  EnsureOptions,
  HistoryEntry,
  ImageInspect,
  ImageListOptions,
  ImageSummary,
  ImportOptions,
  LoadResult,
  PullResult,
  ReadyImage,
  RemovedItem,
  RemoveImageOptions,
  TransferOptions,
} from './images/types.ts';
import { inspection, shown } from './images/words.ts';

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

export class Images {
  readonly #host: ImagesHost;
  readonly #registry: RegistryOptions;
  #opened: Promise<Transfer> | undefined;

  constructor(host: ImagesHost, registry: RegistryOptions = {}) {
    this.#host = host;
    this.#registry = registry;
  }

  /** The image, fetched or made where the policy says so. `host:…` is made from this machine's own programs. */
  async ensure(reference: string, options: EnsureOptions = {}): Promise<ReadyImage> {
    const { pull = 'missing', platform } = options;
    if (pull !== 'always') {
      const present = this.resolve(reference);
      const fits = present && (platform === undefined || runs(present.config, platform));
      if (fits && (pull === 'never' || !this.#isStale(reference, present.id))) return present;
      if (pull === 'never' || isId(reference)) throw notFound(reference, present && formatPlatform(present.config));
    }
    const { id, reference: name, config, layers } = await this.#pull(reference, options, pull === 'always');
    return { id, reference: name, config, layers };
  }

  /** Asks the registry, whatever is here. */
  pull(reference: string, options: TransferOptions = {}): Promise<PullResult> {
    return this.#pull(reference, options, false);
  }

  async #pull(reference: string, options: TransferOptions, afresh: boolean): Promise<PullResult> {
    const transfer = await this.#transfer();
    const pulled = reference.startsWith(hostPrefix)
      ? await transfer.makeHost(reference, options.signal, afresh)
      : await transfer.pull(reference, options);
    const { digest, changed } = pulled;
    return { ...this.#ready(this.#host.database.image(pulled.id), pulled.reference), digest, changed };
  }

  /** Every image of a `docker save` or OCI archive: a path, or a stream. */
  async load(archive: string | Readable, options: TransferOptions = {}): Promise<LoadResult[]> {
    return await (await this.#transfer()).load(archive, options);
  }

  /** A root file system's tar as an image of one layer. Resolves to its id. */
  async import(archive: string | Readable, options: ImportOptions = {}): Promise<string> {
    return await (await this.#transfer()).import(archive, options);
  }

  /** Newest first; an untagged image is there once, with nulls. */
  list(options: ImageListOptions = {}): ImageSummary[] {
    return listed(this.#host.database.images(), options, (reference) => this.inspect(reference).Created);
  }

  /** IMAGE_NOT_FOUND where there is none. */
  inspect(reference: string): ImageInspect {
    return inspection(this.#present(reference).row);
  }

  /** How it was made, the last step first. */
  history(reference: string): HistoryEntry[] {
    const { database } = this.#host;
    return historyOf(this.#present(reference).row, (diffId) => database.layer(diffId)?.unpackedSize ?? 0);
  }

  /** Gives the image a further name, which another may have had. Resolves to the name. */
  tag(reference: string, name: string): string {
    const stored = canonical(taggable(name));
    this.#host.database.tag(stored, this.#present(reference).row.id);
    return shown(stored);
  }

  /** What `reference` (a name, an id, the beginning of an id) means in this store, or null. Asks no registry. */
  resolve(reference: string): ReadyImage | null {
    const found = this.#find(reference);
    if (!found) return null;
    const { row, name } = found;
    // Somebody may have deleted a tree by hand; a pull brings it back.
    if (row.diffIds.some((diffId) => !existsSync(layerPath(this.#host.root, diffId)))) return null;
    return this.#ready(row, name === undefined ? row.id : shown(name));
  }

  /** Docker's `rmi`: takes the name away, and the image with its last one. IMAGE_IN_USE where a container needs it. */
  async remove(reference: string, { force = false, noPrune = false }: RemoveImageOptions = {}): Promise<RemovedItem[]> {
    const { database } = this.#host;
    const { row, name } = this.#present(reference);
    const plan = planRemoval(database, row, name, force);
    const removed: RemovedItem[] = plan.untag.map((stored) => ({ untagged: shown(stored) }));
    if (!plan.delete) {
      for (const stored of plan.untag) database.untag(stored);
      return removed;
    }
    await this.#delete(row, force);
    removed.push({ deleted: row.id });
    // Docker's rule: what it was made from goes with it where nothing else keeps it.
    for (let { parentId } = row; !noPrune && parentId;) {
      const parent = this.#row(parentId);
      if (!parent || parent.references.length > 0 || isNeeded(database, parent.id)) break;
      await this.#delete(parent, false);
      removed.push({ deleted: parent.id });
      parentId = parent.parentId;
    }
    return removed;
  }

  async #delete(row: ImageRow, force: boolean): Promise<void> {
    const unused = this.#host.database.removeImage(row.id, force);
    await this.discardLayers(unused);
    const { blobs } = await this.#transfer();
    await Promise.all([row.id, row.manifestDigest].map((digest) => digest && blobs.remove(digest)));
  }

  /** Deletes the trees of layers that the database has just forgotten (`removeImage`, `removeContainer`). */
  async discardLayers(diffIds: readonly string[]): Promise<void> {
    if (diffIds.length > 0) await (await this.#transfer()).layers.remove(diffIds);
  }

  /** Ends idle connections. */
  close(): void {
    void this.#opened?.then((transfer) => transfer.close());
  }

  /** A `host:` image whose programs have changed since. */
  #isStale(reference: string, id: string): boolean {
    return reference.startsWith(hostPrefix) && recall(this.#host.root, reference) !== id;
  }

  /** The row, and the stored name it was found by; none where it was an id. */
  #find(reference: string): { row: ImageRow; name: string | undefined } | undefined {
    const name = storedName(reference);
    const named = name === undefined ? undefined : this.#row(name);
    if (named) return { row: named, name };
    const row = isId(reference) ? this.#row(reference) : undefined;
    return row && { row, name: undefined };
  }

  #present(reference: string): { row: ImageRow; name: string | undefined } {
    const found = this.#find(reference);
    if (!found) throw notFound(reference);
    return found;
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
    // Overlay takes no directory twice; of a layer that comes twice, the upper one hides the lower entirely.
    const topmostFirst = [...new Set(row.diffIds.toReversed())];
    const layers = topmostFirst.map((diffId) => layerPath(this.#host.root, diffId));
    return { id: row.id, reference, config: row.config as ImageConfig, layers };
  }

  #transfer(): Promise<Transfer> {
    this.#opened ??= import('./images/transfer.ts').then(({ Transfer }) => new Transfer(this.#host, this.#registry));
    return this.#opened;
  }
}

function runs(config: ImageConfig, wanted: string | Platform): boolean {
  return distance(typeof wanted === 'string' ? parsePlatform(wanted) : wanted, config) !== undefined;
}

function notFound(reference: string, platform?: string | null | undefined): NotFoundError {
  if (!platform) return new NotFoundError('IMAGE_NOT_FOUND', `No such image: ${reference}`);
  const message = `image with reference ${reference} was found but it is for ${platform}, not for the platform asked for`;
  return new NotFoundError('PLATFORM_NOT_FOUND', message);
}
