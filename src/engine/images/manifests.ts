// Manifest lists that are being put together (`manifest create`): ROOT/manifests, a file a list, until they are pushed.
// Entries are images of registries; the list itself exists nowhere but here until then.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sha256 } from '../../native.ts';
import { type Document, parseConfig } from '../../registry/manifest.ts';
import { type Descriptor, mediaTypes, type Platform } from '../../registry/oci.ts';
import { choosePlatform } from '../../registry/platform.ts';
import { canonical, parseReference, type Reference } from '../../registry/reference.ts';
import type { Repository } from '../../registry/repository.ts';
import { diskError } from '../disk.ts';
import { ConflictError, ImageError, InvalidArgumentError, NotFoundError, StorageError } from '../errors.ts';
import { lock } from './locks.ts';
import { taggable } from './names.ts';
import { platformOf } from './platform.ts';
import { readConfig } from './source.ts';
import { RegistrySink, RegistrySource } from './transports/registry.ts';
import { sendDocument } from './transports/send.ts';
import type { ListAnnotations, ManifestDetails, TransferOptions } from './types.ts';
import { shown } from './words.ts';

interface Entry {
  /** Canonical: where its manifest is. */
  reference: string;
  descriptor: Descriptor;
}

interface List {
  /** Canonical. */
  name: string;
  entries: Entry[];
}

type RepositoryOf = (reference: Reference) => Repository;

export class ManifestLists {
  readonly #directory: string;
  readonly #repository: RepositoryOf;

  constructor(root: string, repository: RepositoryOf) {
    this.#directory = join(root, 'manifests');
    this.#repository = repository;
  }

  /** Resolves to the list's name. With `amend`, one that is there is added to. */
  async create(name: string, images: readonly string[], amend: boolean, signal?: AbortSignal): Promise<string> {
    const stored = canonical(taggable(name));
    const added: Entry[] = [];
    for (const image of images) added.push(...(await this.#entriesOf(image, false, undefined, signal)));
    await this.#change(stored, (list) => {
      if (list && !amend) {
        const message = `manifest list ${shown(stored)} is there already: refusing to amend it without --amend`;
        throw new ConflictError('MANIFEST_EXISTS', message);
      }
      return { name: stored, entries: merged(list?.entries ?? [], added) };
    });
    return shown(stored);
  }

  /** `all`: every entry of an index, instead of the one for the platform. */
  async add(
    name: string,
    image: string,
    {
      all = false,
      platform,
      signal,
      ...annotations
    }: ListAnnotations & TransferOptions & { all?: boolean | undefined },
  ): Promise<string> {
    const added = await this.#entriesOf(image, all, platformOf(platform), signal);
    const stored = canonical(taggable(name));
    await this.#change(stored, (list) => ({
      name: stored,
      entries: merged(
        this.#existing(list, name).entries,
        added.map((entry) => annotated(entry, annotations)),
      ),
    }));
    return shown(stored);
  }

  /** `image`: as it was added, or its digest. */
  async annotate(name: string, image: string, annotations: ListAnnotations): Promise<void> {
    const stored = canonical(taggable(name));
    const wanted = image.startsWith('sha256:') ? image : canonical(parseReference(image));
    await this.#change(stored, (found) => {
      const list = this.#existing(found, name);
      const isMeant = ({ reference, descriptor }: Entry) => reference === wanted || descriptor.digest === wanted;
      if (!list.entries.some(isMeant)) {
        throw new NotFoundError(
          'MANIFEST_NOT_FOUND',
          `manifest list ${name} has no ${image}: create it with that first`,
        );
      }
      return { name: stored, entries: list.entries.map((one) => (isMeant(one) ? annotated(one, annotations) : one)) };
    });
  }

  remove(name: string): void {
    const path = this.#path(canonical(taggable(name)));
    this.#existing(this.#read(path), name);
    rmSync(path, { force: true });
  }

  /** Every manifest that the list's repository lacks, then the list. Resolves to its digest. */
  async push(
    name: string,
    { purge = false, signal }: { purge?: boolean; signal?: AbortSignal | undefined },
  ): Promise<string> {
    const target = taggable(name);
    const path = this.#path(canonical(target));
    const { entries } = this.#existing(this.#read(path), name);
    const stop = signal ?? new AbortController().signal;
    const sink = new RegistrySink(this.#repository(target), target);
    for (const { reference, descriptor } of entries) {
      const from = parseReference(reference);
      if (from.registry === target.registry && from.repository === target.repository) continue;
      const source = { ...from, tag: undefined, digest: descriptor.digest };
      const tree = await new RegistrySource(this.#repository(source), source).tree(stop);
      await sendDocument(tree, tree.root, sink, { names: undefined, signal: stop }, 0);
      await sink.manifest(tree.root, undefined, stop);
    }
    const document = indexOf(entries);
    await sink.manifest(document, [name], stop);
    if (purge) rmSync(path, { force: true });
    return document.digest;
  }

  /** The list that is here, or what the registry has under that name. */
  async inspect(name: string, signal?: AbortSignal): Promise<Document> {
    const reference = parseReference(name);
    const list = reference.digest === undefined ? this.#read(this.#path(canonical(reference))) : undefined;
    return list ? indexOf(list.entries) : await this.#repository(reference).root(signal);
  }

  /** The same with every manifest it leads to. */
  async details(name: string, signal?: AbortSignal): Promise<ManifestDetails[]> {
    const reference = parseReference(name);
    const list = reference.digest === undefined ? this.#read(this.#path(canonical(reference))) : undefined;
    const root = list ? indexOf(list.entries) : await this.#repository(reference).root(signal);
    if (root.kind === 'manifest') return [await this.#detail(reference, descriptorOf(root), root, signal)];
    const details: ManifestDetails[] = [];
    for (const entry of root.index.manifests) {
      const own = list?.entries.find(({ descriptor }) => descriptor.digest === entry.digest);
      const from = own ? parseReference(own.reference) : reference;
      const document = await this.#repository(from).manifest(entry, signal);
      details.push(await this.#detail({ ...from, digest: entry.digest }, entry, document, signal));
    }
    return details;
  }

  async #detail(reference: Reference, descriptor: Descriptor, document: Document, signal?: AbortSignal) {
    const platform = descriptor.platform ?? (await this.#platform(this.#repository(reference), document, signal));
    return {
      Ref: canonical(reference),
      Descriptor: { ...descriptor, ...(platform && { platform }) },
      Manifest: JSON.parse(document.bytes.toString('utf8')) as object,
    };
  }

  async #entriesOf(
    image: string,
    all: boolean,
    platform: Platform | undefined,
    signal?: AbortSignal,
  ): Promise<Entry[]> {
    const reference = parseReference(image.replace(/^docker:\/\//, ''));
    const repository = this.#repository(reference);
    const root = await repository.root(signal);
    const stored = canonical(reference);
    if (root.kind === 'manifest') {
      const known = await this.#platform(repository, root, signal);
      return [{ reference: stored, descriptor: { ...descriptorOf(root), ...(known && { platform: known }) } }];
    }
    const chosen = platform && choosePlatform(root.index.manifests, platform);
    const entries = all ? root.index.manifests : chosen ? [chosen] : [];
    if (entries.length > 0) return entries.map((descriptor) => ({ reference: stored, descriptor }));
    const cure = platform ? 'it has none for that platform' : 'name one of its images by digest, or add it with --all';
    throw new ImageError('MANIFEST_INVALID', `${image} is a manifest list itself: ${cure}`);
  }

  /** What an image is for; undefined for what is no image. */
  async #platform(repository: Repository, document: Document, signal?: AbortSignal): Promise<Platform | undefined> {
    if (document.kind === 'index') return undefined;
    const { config, layers } = document.manifest;
    if (!([mediaTypes.ociConfig, mediaTypes.dockerConfig] as string[]).includes(config.mediaType)) return undefined;
    const bytes = await readConfig(config, document.digest, repository.blob(config, signal));
    const { os, architecture, variant } = parseConfig(bytes, layers.length, `the config of ${document.digest}`);
    return { os, architecture, ...(variant && { variant }) };
  }

  #existing(list: List | undefined, name: string): List {
    if (list) return list;
    throw new NotFoundError('MANIFEST_NOT_FOUND', `No such manifest: ${name}: create it with \`manifest create\``);
  }

  async #change(stored: string, work: (list: List | undefined) => List): Promise<void> {
    const path = this.#path(stored);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const held = await lock(`${path}.lock`);
    try {
      const changed = JSON.stringify(work(this.#read(path)));
      const temporary = `${path}.new`;
      writeFileSync(temporary, changed, { flush: true });
      renameSync(temporary, path);
    } catch (error) {
      throw diskError(error);
    } finally {
      held.release();
    }
  }

  #read(path: string): List | undefined {
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as List;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new StorageError('MANIFEST_UNREADABLE', `cannot read ${path}: ${(cause as Error).message}`, { cause });
    }
  }

  /** A name may be longer than a file's. */
  #path(stored: string): string {
    return join(this.#directory, `${sha256(Buffer.from(stored)).slice('sha256:'.length)}.json`);
  }
}

/** A later entry takes the place of an earlier of the same manifest. */
function merged(before: readonly Entry[], added: readonly Entry[]): Entry[] {
  const digests = new Set(added.map(({ descriptor }) => descriptor.digest));
  return [...before.filter(({ descriptor }) => !digests.has(descriptor.digest)), ...added];
}

function annotated(entry: Entry, { os, architecture, variant, osVersion, osFeatures }: ListAnnotations): Entry {
  const platform = entry.descriptor.platform ?? { os: 'linux', architecture: '' };
  const changed = {
    ...platform,
    ...(os !== undefined && { os }),
    ...(architecture !== undefined && { architecture }),
    ...(variant !== undefined && { variant }),
    ...(osVersion !== undefined && { 'os.version': osVersion }),
    ...(osFeatures !== undefined && osFeatures.length > 0 && { 'os.features': osFeatures }),
  };
  if (changed.architecture === '') {
    throw new InvalidArgumentError('PLATFORM_INVALID', `say for which machine ${entry.reference} is: --os and --arch`, {
      exitCode: 1,
    });
  }
  return { ...entry, descriptor: { ...entry.descriptor, platform: changed } };
}

function descriptorOf({ mediaType, digest, bytes }: Document): Descriptor {
  return { mediaType, digest, size: bytes.length };
}

/** Docker's list where all of it is Docker's, OCI's index otherwise. */
function indexOf(entries: readonly Entry[]): Document {
  const manifests = entries.map(({ descriptor }) => descriptor);
  const isDockers = manifests.every(({ mediaType }) => mediaType === mediaTypes.dockerManifest);
  const mediaType = isDockers && manifests.length > 0 ? mediaTypes.dockerList : mediaTypes.ociIndex;
  const index = { schemaVersion: 2 as const, mediaType, manifests };
  const bytes = Buffer.from(JSON.stringify(index));
  return { kind: 'index', mediaType, digest: sha256(bytes), bytes, index };
}
