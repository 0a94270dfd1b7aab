// How images come into the store: pulled, loaded, imported, made of the host's programs. Also what goes out of it again.
// Loaded only when something is to be moved: an image that is there runs without any of this.

import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Database, type ImageRow, now, sha256 } from '../../native.ts';
import { RegistryClient, type RegistryOptions } from '../../registry/client.ts';
import { layerLimit, parseManifest } from '../../registry/manifest.ts';
import type { Platform } from '../../registry/oci.ts';
import { formatPlatform } from '../../registry/platform.ts';
import { canonical, parseReference, type Reference } from '../../registry/reference.ts';
import { ImageError, KapselError, NotFoundError } from '../errors.ts';
import type { ImagesHost } from '../images.ts';
import { Blobs } from './blobs.ts';
import { applyChanges } from './changes.ts';
import { type Composed, composeImage, composeLayer } from './compose.ts';
import { Downloads } from './downloads.ts';
import { makeHostImage } from './host.ts';
import { hostPrefix, memoryLock, recall } from './host-memory.ts';
import { ingest } from './ingest.ts';
import { gone, isGone, Layers } from './layers.ts';
import { lock } from './locks.ts';
import { isId, storedName, taggable } from './names.ts';
import { platformOf } from './platform.ts';
import { sweepScratch, withScratch } from './scratch.ts';
import { fromRegistry, type SourceImage } from './source.ts';
import type { Workshop } from './transports/copy.ts';
import type { Extension, ImportOptions, LoadResult, TransferOptions } from './types.ts';
import { inputOf, isDirectory, unpackArchive } from './unpack-archive.ts';
import { shown, wholeSeconds } from './words.ts';
import { unpack } from './worker.ts';

/** What a pull gave: the image's id, the name to call it by, what the registry's name pointed at. */
export interface Pulled {
  id: string;
  reference: string;
  digest: string | undefined;
  changed: boolean;
}

type Action = 'pull' | 'load' | 'import' | 'commit';

export class Transfer implements Workshop {
  readonly layers: Layers;
  readonly blobs: Blobs;
  readonly #host: ImagesHost;
  readonly registry: RegistryClient;
  readonly downloads: Downloads;

  constructor(host: ImagesHost, registry: RegistryOptions) {
    this.#host = host;
    this.registry = new RegistryClient({ insecure: host.insecureRegistries, ...registry });
    this.layers = new Layers(host.root, host.database);
    this.blobs = new Blobs(host.root);
    this.downloads = new Downloads(host.root);
  }

  async pull(reference: string, options: TransferOptions): Promise<Pulled> {
    const parsed = parseReference(reference);
    const name = canonical(parsed);
    const platform = platformOf(options.platform);
    const repository = this.registry.repository(parsed, options);
    const image = await fromRegistry(repository, shown(name), platform, options.signal, this);
    const byDigest = `${parsed.registry}/${parsed.repository}@${image.rootDigest}`;
    const names = parsed.digest === undefined ? [name, byDigest] : [byDigest];
    const changed = await this.#ingest(image, names, 'pull', options);
    this.#rememberForms(image, parsed);
    return { id: image.config.digest, reference: shown(names[0]!), digest: image.rootDigest, changed };
  }

  /** A push need not send what a registry has already. */
  #rememberForms({ manifest, config }: SourceImage, { registry, repository }: Reference): void {
    const document = manifest && parseManifest(manifest.bytes, undefined, 'the manifest');
    if (document?.kind !== 'manifest') return;
    const { diffIds } = this.database.image(config.digest);
    const forms = document.manifest.layers.map(({ digest, size, mediaType }, index) => {
      return { diffId: diffIds[index]!, digest, size, mediaType, registry, repository };
    });
    this.database.insertLayerSources(forms);
  }

  /** One process makes it; those that wanted it meanwhile find it made, unless they want it `afresh`. */
  async makeHost(reference: string, signal: AbortSignal | undefined, afresh = false): Promise<Pulled> {
    const { root } = this.#host;
    const held = await lock(memoryLock(root, reference), signal);
    try {
      const present = this.#row(reference);
      const isWhole = present?.diffIds.every((diffId) => this.layers.find(diffId));
      if (!afresh && present && isWhole && recall(root, reference) === present.id) {
        return { id: present.id, reference, digest: undefined, changed: false };
      }
      const image = await again(async () => {
        const made = await makeHostImage(root, this.layers, reference, signal);
        await this.#record(made, [reference], 'import');
        return made;
      });
      return { id: image.id, reference, digest: undefined, changed: present?.id !== image.id };
    } finally {
      held.release();
    }
  }

  async load(archive: string | Readable, options: TransferOptions): Promise<LoadResult[]> {
    const platform = platformOf(options.platform);
    if (typeof archive === 'string' && isDirectory(archive)) return await this.#loadAll(archive, platform, options);
    return await withScratch(this.#host.root, async (directory) => {
      await unpackArchive(archive, directory, options.signal);
      return await this.#loadAll(directory, platform, options);
    });
  }

  async #loadAll(directory: string, platform: Platform, options: TransferOptions): Promise<LoadResult[]> {
    const { imagesIn } = await import('./transports/archives.ts');
    const results: LoadResult[] = [];
    for (const image of await imagesIn(directory, platform)) {
      await this.#ingest(image, image.references, 'load', options);
      results.push({ id: image.config.digest, references: image.references.map(shown) });
    }
    return results;
  }

  async import(archive: string | Readable, options: ImportOptions): Promise<string> {
    const { changes = [], message, sourceDateEpoch, signal } = options;
    const platform = platformOf(options.platform);
    const reference = options.reference === undefined ? undefined : taggable(options.reference);
    const config = applyChanges({}, changes);
    const created = sourceDateEpoch === undefined ? now() : wholeSeconds(sourceDateEpoch);
    const about = { created, config, ...(message && { comment: message }) };
    const work = async (): Promise<string> => {
      const layer = await composeLayer(this.layers, (into) => unpack(inputOf(archive), into), signal);
      const image = composeImage(layer, platform, about, 'import');
      await this.#record(image, reference === undefined ? [] : [canonical(reference)], 'import');
      return image.id;
    };
    // A stream is read once.
    return typeof archive === 'string' ? await again(work) : await work();
  }

  async row(reference: string, signal: AbortSignal): Promise<ImageRow> {
    const name = storedName(reference);
    const row = (name !== undefined && this.#row(name)) || (isId(reference) && this.#row(reference));
    const isHost = reference.startsWith(hostPrefix);
    if (row && (!isHost || recall(this.root, reference) === row.id)) return row;
    if (!isHost) throw new NotFoundError('IMAGE_NOT_FOUND', `No such image: ${reference}`);
    return this.database.image((await this.makeHost(reference, signal)).id);
  }

  async keep(image: SourceImage, names: string[], options: TransferOptions): Promise<void> {
    await this.#ingest(image, names, 'load', options);
  }

  get root(): string {
    return this.#host.root;
  }

  get database(): Database {
    return this.#host.database;
  }

  /** Removes what processes that died have left in the store. */
  async sweep(): Promise<void> {
    await this.layers.sweep();
    await sweepScratch(this.root);
    await this.sweepBlobs();
  }

  /** Removes the documents of images that are there no more, after work that adds some, if any. */
  async sweepBlobs(work?: () => Promise<void>): Promise<void> {
    const referenced = () => this.database.images().flatMap((row) => [row.id, row.manifestDigest ?? row.id]);
    await this.blobs.exclusively(referenced, work);
  }

  /** One more layer on those of another image: what a container has changed. Resolves to the new image's id. */
  async extend({ below, parentId, reference, fill, config: configOf, signal }: Extension): Promise<string> {
    const names = reference === undefined ? [] : [canonical(taggable(reference))];
    if (below.length >= layerLimit) {
      const hint = 'export the container and import that as an image of one layer';
      throw new ImageError('LAYER_LIMIT', `its image has ${below.length} layers, and Linux stacks no more: ${hint}`);
    }
    return await again(async () => {
      const layer = await composeLayer(this.layers, fill, signal);
      const config = configOf(layer.diffId);
      const configBytes = Buffer.from(JSON.stringify(config));
      const id = sha256(configBytes);
      const { diff_ids: diffIds } = config.rootfs;
      const rows = [...new Set([...below, layer.diffId])].map((diffId) => this.layers.find(diffId) ?? gone(diffId));
      await this.#record({ id, config, configBytes, manifest: undefined, diffIds, rows, parentId }, names, 'commit');
      return id;
    });
  }

  /** Ends idle connections. */
  close(): void {
    this.registry.close();
  }

  /** Resolves to whether anything had to be fetched. */
  async #ingest(image: SourceImage, references: string[], action: Action, options: TransferOptions): Promise<boolean> {
    return await again(async () => {
      const { config, diffIds, rows, changed } = await ingest(this.layers, image, options);
      const { digest: id, bytes: configBytes } = image.config;
      const recorded = { id, config, configBytes, manifest: image.manifest, diffIds, rows };
      return (await this.#record(recorded, references, action)) || changed;
    });
  }

  /** Documents first, then the row: an image that is listed is complete. False where it was listed just so. */
  async #record(
    image: Omit<Composed, 'manifest'> & { manifest: Composed['manifest'] | undefined; parentId?: string | null },
    references: string[],
    action: Action,
  ): Promise<boolean> {
    const { database } = this.#host;
    const { id, config, configBytes, manifest, diffIds, rows, parentId = null } = image;
    const digestOf = (known: ImageRow | undefined) => manifest?.digest ?? known?.manifestDigest ?? null;
    const before = this.#row(id);
    const isSame = before && before.manifestDigest === digestOf(before);
    if (isSame && references.every((name) => before.references.includes(name)) && this.#hasDocuments(before)) {
      return false;
    }
    const createdAt = config.created ?? null;
    const platform = formatPlatform(config);
    const size = rows.reduce((sum, row) => sum + row.unpackedSize, 0);
    await this.layers.withRows(rows, (record) =>
      this.sweepBlobs(async () => {
        const known = this.#row(id);
        const manifestDigest = digestOf(known);
        await this.blobs.write(id, configBytes);
        if (manifest) await this.blobs.write(manifest.digest, manifest.bytes);
        const row = { id, manifestDigest, config, diffIds, size, createdAt, platform, references, parentId };
        record(() => database.insertImage(row, action));
      }),
    );
    return true;
  }

  #hasDocuments({ id, manifestDigest }: ImageRow): boolean {
    const documents = manifestDigest === null ? [id] : [id, manifestDigest];
    return documents.every((digest) => this.blobs.find(digest) !== undefined);
  }

  #row(key: string): ImageRow | undefined {
    try {
      return this.#host.database.image(key);
    } catch (error) {
      if (error instanceof KapselError && error.code === 'IMAGE_NOT_FOUND') return undefined;
      throw error;
    }
  }
}

/** Between finding that a layer is there and recording the image, another process may remove it: then again. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isGone(error) || attempt === 20) throw error;
      await sleep(Math.random() * 10 * attempt);
    }
  }
}
