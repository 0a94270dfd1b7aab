// From any transport to any other. `push`, `save` and `copy` are this; `pull` and `load` are its half that ends in the store.

import { closeSync, openSync, statSync } from 'node:fs';
import type { Database, ImageRow } from '../../../native.ts';
import type { Access, RegistryClient } from '../../../registry/client.ts';
import { type Document, parseConfig } from '../../../registry/manifest.ts';
import { hostPlatform } from '../../../registry/platform.ts';
import { canonical, parseReference } from '../../../registry/reference.ts';
import { InvalidArgumentError, KapselError } from '../../errors.ts';
import type { Blobs } from '../blobs.ts';
import type { Layers } from '../layers.ts';
import { hostPrefix } from '../host-memory.ts';
import { taggable } from '../names.ts';
import { checkPlatform, platformOf } from '../platform.ts';
import { withScratch } from '../scratch.ts';
import type { CopyOptions, SaveFormat } from '../types.ts';
import { unpackArchive } from '../unpack-archive.ts';
import { DirectorySource, DockerArchiveSource, LayoutSource } from './archives.ts';
import { DirectorySink } from './directory.ts';
import { archiveName, DockerArchiveSink } from './docker-archive.ts';
import { DirectoryFiles, TarFiles } from './files.ts';
import { LayoutSink } from './layout.ts';
import { parsePlace, type Place } from './names.ts';
import { RegistrySink, RegistrySource } from './registry.ts';
import { sendImage, sendTree } from './send.ts';
import { storedImage } from './stored.ts';
import type { OutgoingImage, Sink, Source } from './transport.ts';

export { parsePlace };

/** What a copy needs of the store around it. */
export interface Workshop {
  readonly root: string;
  readonly database: Database;
  readonly layers: Layers;
  readonly blobs: Blobs;
  readonly registry: RegistryClient;
  /** The row of what is here, or of `host:`, which is made. */
  row(reference: string, signal: AbortSignal): Promise<ImageRow>;
  /** Into the store, under canonical names. */
  keep(image: OutgoingImage, names: string[], options: CopyOptions): Promise<void>;
}

/** Resolves to the digest of what the destination has by its new name; the store's is the image's id. */
export async function copyImage(shop: Workshop, from: Place, to: Place, options: CopyOptions): Promise<string> {
  const signal = options.signal ?? new AbortController().signal;
  const { sourceAccess = options, destinationAccess = options } = options;
  // Is made here: not at all, rather than for the wrong machine.
  if (from.transport === 'kapsel' && from.reference.startsWith(hostPrefix))
    checkPlatform(hostPlatform(), options.platform, from.reference);
  return await withSource(shop, from, sourceAccess, signal, async (source) => {
    if (to.transport === 'kapsel') return await copyIntoStore(shop, source, to.reference, options, signal);
    const names = namesFor(to);
    return await withSink(shop, to, destinationAccess, async (sink) => {
      const sending = { ...options, names, signal };
      if (options.all && source.tree) {
        const tree = await source.tree(signal);
        if (tree.root.kind === 'index' || !rewrites(options)) {
          if (rewrites(options)) throw unchangeable();
          return (await sendTree(tree, sink, sending)).digest;
        }
      }
      return (await sendImage(await imageFor(source, options.platform, signal), sink, sending)).digest;
    });
  });
}

/** The one image that a source has for a platform; where it holds one alone, that may be for another. */
async function imageFor(
  source: Source,
  platform: CopyOptions['platform'],
  signal: AbortSignal,
): Promise<OutgoingImage> {
  const image = await source.image(platformOf(platform), signal);
  if (platform !== undefined) {
    const { bytes } = image.config;
    checkPlatform(parseConfig(bytes, image.layers.length, `the config of ${image.name}`), platform, image.name);
  }
  return image;
}

/** Every image of the list into one archive or directory; `output` is a path, or a descriptor for an archive. */
export async function saveImages(
  shop: Workshop,
  images: readonly { row: ImageRow; names: readonly string[] }[],
  output: string | number,
  format: SaveFormat,
  options: CopyOptions,
): Promise<void> {
  const signal = options.signal ?? new AbortController().signal;
  await withFilesSink(shop, format, output, async (sink) => {
    for (const { row, names } of images) {
      const image = await storedImage(row, shop);
      const called = format === 'docker-archive' ? names.filter((name) => !name.includes('@')) : names;
      await sendImage(image, sink, { ...options, names: called, signal });
      noting(() => {
        shop.database.appendEvent({ kind: 'image', action: 'save', id: row.id, attributes: { name: image.name } });
      });
    }
  });
}

/** What is done outside of the store is done, even if there is no room to write it down. */
function noting(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof KapselError && error.code === 'DISK_FULL')) throw error;
  }
}

export interface Pushed {
  document: Document;
  /** As it was pushed. */
  reference: string;
}

/** A stored image to where its name says. What the registry has of it then is remembered. */
export async function pushImage(shop: Workshop, row: ImageRow, name: string, options: CopyOptions): Promise<Pushed> {
  const signal = options.signal ?? new AbortController().signal;
  const reference = taggable(name);
  const { registry, repository } = reference;
  const sink = new RegistrySink(shop.registry.repository(reference, options), reference);
  const document = await sendImage(await storedImage(row, shop), sink, { ...options, names: [name], signal });
  if (document.kind === 'manifest') {
    const sources = document.manifest.layers.map(({ digest, size, mediaType }, index) => {
      return { diffId: row.diffIds[index]!, digest, size, mediaType, registry, repository };
    });
    noting(() => {
      shop.database.insertLayerSources(sources);
      shop.database.tag(`${registry}/${repository}@${document.digest}`, row.id);
      shop.database.appendEvent({ kind: 'image', action: 'push', id: row.id, attributes: { name } });
    });
  }
  return { document, reference: canonical(reference) };
}

async function copyIntoStore(
  shop: Workshop,
  source: Source,
  name: string,
  options: CopyOptions,
  signal: AbortSignal,
): Promise<string> {
  if (options.all) {
    throw new InvalidArgumentError('PLATFORM_INVALID', 'the store holds one platform of a name: leave --all away', {
      exitCode: 1,
    });
  }
  const reference = canonical(taggable(name));
  const image = await source.image(platformOf(options.platform), signal);
  await shop.keep(image, [reference], options);
  return image.config.digest;
}

async function withSource<T>(
  shop: Workshop,
  place: Place,
  access: Access,
  signal: AbortSignal,
  work: (source: Source) => Promise<T>,
): Promise<T> {
  switch (place.transport) {
    case 'docker': {
      const reference = parseReference(place.reference);
      return await work(new RegistrySource(shop.registry.repository(reference, access), reference));
    }
    case 'kapsel': {
      const row = await shop.row(place.reference, signal);
      return await work({ image: () => storedImage(row, shop) });
    }
    case 'oci':
      return await work(new LayoutSource(place.path, place.reference));
    case 'dir':
      return await work(new DirectorySource(place.path));
    case 'oci-archive':
    case 'docker-archive':
      return await withScratch(shop.root, async (directory) => {
        await unpackArchive(place.path, directory, signal);
        const Archived = place.transport === 'oci-archive' ? LayoutSource : DockerArchiveSource;
        return await work(new Archived(directory, place.reference));
      });
  }
}

async function withSink<T>(
  shop: Workshop,
  place: Exclude<Place, { transport: 'kapsel' }>,
  access: Access,
  work: (sink: Sink) => Promise<T>,
): Promise<T> {
  if (place.transport === 'docker') {
    const reference = parseReference(place.reference);
    return await filled(new RegistrySink(shop.registry.repository(reference, access), reference), work);
  }
  const format = ({ oci: 'oci-dir', dir: 'docker-dir' } as const)[place.transport as 'oci' | 'dir'];
  return await withFilesSink(shop, format ?? (place.transport as SaveFormat), place.path, work);
}

async function withFilesSink<T>(
  shop: Workshop,
  format: SaveFormat,
  output: string | number,
  work: (sink: Sink) => Promise<T>,
): Promise<T> {
  if (format === 'oci-dir' || format === 'docker-dir') {
    if (typeof output === 'number')
      throw new InvalidArgumentError('OUTPUT_INVALID', `${format} needs a directory: -o`, { exitCode: 1 });
    const files = await DirectoryFiles.open(output);
    return await filled(format === 'oci-dir' ? new LayoutSink(files) : new DirectorySink(files), work);
  }
  return await withScratch(shop.root, async (scratch) => {
    const special = typeof output === 'string' && isSpecial(output) ? openSync(output, 'w') : undefined;
    try {
      const files = await TarFiles.open(special ?? output, scratch);
      return await filled(format === 'oci-archive' ? new LayoutSink(files) : new DockerArchiveSink(files), work);
    } finally {
      if (special !== undefined) closeSync(special);
    }
  });
}

async function filled<T>(sink: Sink, work: (sink: Sink) => Promise<T>): Promise<T> {
  try {
    const result = await work(sink);
    await sink.finish();
    return result;
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

/** A pipe or a device is written to; a name takes its place only among files. */
function isSpecial(path: string): boolean {
  const status = statSync(path, { throwIfNoEntry: false });
  return status !== undefined && !status.isFile() && !status.isDirectory();
}

function namesFor(place: Exclude<Place, { transport: 'kapsel' }>): string[] {
  if (place.reference === undefined) return [];
  return [place.transport === 'docker-archive' ? archiveName(place.reference) : place.reference];
}

function rewrites({ format, compression }: CopyOptions): boolean {
  return format !== undefined || compression !== undefined;
}

function unchangeable(): InvalidArgumentError {
  const message = 'all platforms are copied as they are: leave --format and --compression-format away';
  return new InvalidArgumentError('FORMAT_UNSUPPORTED', message, { exitCode: 1 });
}
