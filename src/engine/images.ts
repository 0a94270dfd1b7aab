// The images of one engine: finding, fetching, naming, describing and removing them.
// How bytes arrive is images/ingest.ts's and src/registry's; what a row looks like is the database's.

import type { Readable } from 'node:stream';
import { areThere, type Database, type ImageRow } from '../native.ts';
import type { Access, RegistryOptions } from '../registry/client.ts';
import type { ImageConfig, Platform } from '../registry/oci.ts';
import { distance, formatPlatform, hostPlatform, parsePlatform } from '../registry/platform.ts';
import { canonical, parseReference } from '../registry/reference.ts';
import { InvalidArgumentError, KapselError, NotFoundError } from './errors.ts';
import { hostPrefix, recall } from './images/host-memory.ts';
import { historyOf } from './images/history.ts';
import { layerPath } from './images/layer-path.ts';
import { listed } from './images/list.ts';
import { isBare, isId, storedName, taggable } from './images/names.ts';
import type { ManifestLists } from './images/manifests.ts';
import { ReadyMemory } from './images/ready-memory.ts';
import { isNeeded, planRemoval } from './images/removal.ts';
import type { Transfer } from './images/transfer.ts';
import type {
  CopyOptions,
  EnsureOptions,
  Extension,
  HistoryEntry,
  ImageDifference,
  ImageInspect,
  ImageListOptions,
  ImageSummary,
  ImageTree,
  ImportOptions,
  LoadResult,
  PullResult,
  PushResult,
  ReadyImage,
  RemovedItem,
  RemoveImageOptions,
  SaveOptions,
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
  readonly #known: ReadyMemory;
  #opened: Promise<Transfer> | undefined;

  constructor(host: ImagesHost, registry: RegistryOptions = {}) {
    this.#host = host;
    this.#known = new ReadyMemory(host.root);
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
    const isHost = reference.startsWith(hostPrefix);
    const { platform } = options;
    if (isHost && platform !== undefined && !runs(hostPlatform(), platform)) {
      throw notFound(reference, formatPlatform(hostPlatform()));
    }
    const transfer = await this.#transfer();
    const pulled = isHost
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

  /** The names under which a registry has the tags of a repository, sorted. */
  async tagsInRegistry(
    repository: string,
    { signal, ...access }: Access & { signal?: AbortSignal | undefined } = {},
  ): Promise<string[]> {
    const parsed = parseReference(repository);
    const { registry } = await this.#transfer();
    const names: string[] = [];
    for await (const tag of registry.repository(parsed, access).tags(signal))
      names.push(shown(canonical({ ...parsed, tag })));
    return names.sort();
  }

  /** To the registry that the name says. */
  async push(reference: string, options: CopyOptions = {}): Promise<PushResult> {
    const { row, name: stored } = this.#present(reference);
    if (stored === undefined) {
      throw new InvalidArgumentError(
        'REFERENCE_INVALID',
        `cannot push ${reference}: an id says nothing of where to: tag it first`,
        { exitCode: 1 },
      );
    }
    const [{ pushImage }, transfer] = await Promise.all([import('./images/transports/copy.ts'), this.#transfer()]);
    const { document, reference: name } = await pushImage(transfer, row, reference, options);
    return { reference: shown(name), digest: document.digest, size: document.bytes.length };
  }

  /** The names of the repository that have a tag, as `push --all-tags` and `save` of a bare name mean them. */
  tagsOf(repository: string): string[] {
    const { registry, repository: path } = parseReference(repository);
    const stored = this.#host.database.images().flatMap(({ references }) => references);
    return stored.filter((name) => !name.includes('@') && name.startsWith(`${registry}/${path}:`)).map(shown);
  }

  /** Images by name or id into one archive: a path, or a descriptor. A bare name stands for all of its tags. */
  async save(
    references: readonly string[],
    output: string | number,
    { format = 'docker-archive', ...options }: SaveOptions = {},
  ): Promise<void> {
    const asked = references.flatMap((reference) => {
      const tags = isBare(reference) ? this.tagsOf(reference) : [];
      return tags.length > 0 ? tags : [reference];
    });
    const byId = new Map<string, { row: ImageRow; names: string[] }>();
    for (const reference of asked) {
      const { row, name } = this.#present(reference);
      const entry = byId.get(row.id) ?? { row, names: [] };
      if (name !== undefined && !name.startsWith(hostPrefix)) entry.names.push(name);
      byId.set(row.id, entry);
    }
    const [{ saveImages }, transfer] = await Promise.all([import('./images/transports/copy.ts'), this.#transfer()]);
    await saveImages(transfer, [...byId.values()], output, format, options);
  }

  /**
   * From any transport to any other: `docker://NAME`, `oci:PATH[:NAME]`, `oci-archive:`, `docker-archive:`, `dir:PATH`,
   * `host:`, and names of the store. Resolves to the digest of the copy.
   */
  async copy(from: string, to: string, options: CopyOptions = {}): Promise<string> {
    const [{ copyImage, parsePlace }, transfer] = await Promise.all([
      import('./images/transports/copy.ts'),
      this.#transfer(),
    ]);
    return await copyImage(transfer, parsePlace(from), parsePlace(to), options);
  }

  /** For the engine's own rooms: `Container.commit`. */
  async extend(extension: Extension): Promise<string> {
    return await (await this.#transfer()).extend(extension);
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

  /** Its layers, the lowest first, and who else has them. */
  tree(reference: string): ImageTree {
    const { row, name } = this.#present(reference);
    const others = this.#host.database.images().filter(({ id }) => id !== row.id);
    const layers = this.history(row.id).flatMap(({ diffId, size, createdBy }) => {
      if (diffId === null) return [];
      const sharing = others.filter(({ diffIds }) => diffIds.includes(diffId));
      const sharedBy = sharing.map(({ id, references }) => (references[0] === undefined ? id : shown(references[0])));
      return [{ diffId, size, createdBy, sharedBy }];
    });
    const called = name ?? row.references[0];
    return {
      id: row.id,
      reference: called === undefined ? row.id : shown(called),
      size: row.size,
      layers: layers.reverse(),
    };
  }

  /** What sets the trees of two images apart, by path; `times` alone too, where asked. Costs as much as they differ. */
  async diff(first: string, second: string, { times = false } = {}): Promise<ImageDifference[]> {
    const layersOf = (reference: string) => this.#ready(this.#present(reference).row, reference).layers;
    const stacks = [layersOf(first), layersOf(second)] as const;
    const { compareTrees } = await import('./images/worker.ts');
    return await compareTrees(...stacks, times);
  }

  /** Lists of the images that one name means on different machines, as they are put together. */
  async manifests(access: Access = {}): Promise<ManifestLists> {
    const [{ ManifestLists }, transfer] = await Promise.all([import('./images/manifests.ts'), this.#transfer()]);
    return new ManifestLists(this.#host.root, (reference) => transfer.registry.repository(reference, access));
  }

  /** Gives the image a further name, which another may have had. Resolves to the name. */
  tag(reference: string, name: string): string {
    const stored = canonical(taggable(name));
    this.#host.database.tag(stored, this.#present(reference).row.id);
    return shown(stored);
  }

  /** What `reference` (a name, an id, the beginning of an id) means in this store, or null. Asks no registry. */
  resolve(reference: string): ReadyImage | null {
    const known = this.#known.isEmpty ? undefined : this.#remembered(reference);
    if (known) return known;
    const found = this.#find(reference);
    if (!found) return null;
    const { row, name } = found;
    const ready = this.#ready(row, name === undefined ? row.id : shown(name));
    const state = this.#known.state();
    // Somebody may have deleted a tree by hand; a pull brings it back.
    if (!areThere(ready.layers)) return null;
    this.#known.keep(row.id, ready, state);
    return ready;
  }

  #remembered(reference: string): ReadyImage | undefined {
    const name = storedName(reference);
    const id = name === undefined ? undefined : this.#host.database.imageId(name);
    const ready = id ? this.#known.get(id) : undefined;
    return ready && { id: id!, reference: shown(name!), ...ready };
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
    await (await this.#transfer()).sweepBlobs();
  }

  /** Deletes the trees of layers that the database has just forgotten (`removeImage`, `removeContainer`). */
  async discardLayers(diffIds: readonly string[]): Promise<void> {
    if (diffIds.length > 0) await (await this.#transfer()).layers.remove(diffIds);
  }

  /** Removes what processes that died have left of images. Whatever changes the store does so too. */
  async sweep(): Promise<void> {
    await (await this.#transfer()).sweep();
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

function runs(offered: Platform, wanted: string | Platform): boolean {
  return distance(typeof wanted === 'string' ? parsePlatform(wanted) : wanted, offered) !== undefined;
}

function notFound(reference: string, platform?: string | null | undefined): NotFoundError {
  if (!platform) return new NotFoundError('IMAGE_NOT_FOUND', `No such image: ${reference}`);
  const message = `image with reference ${reference} was found but it is for ${platform}, not for the platform asked for`;
  return new NotFoundError('PLATFORM_NOT_FOUND', message);
}
