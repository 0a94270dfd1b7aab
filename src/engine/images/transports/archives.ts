// Files as sources: an OCI layout or a `docker save` archive, once it is a directory.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ImageError, NotFoundError } from '../../errors.ts';
import type { Platform } from '../../../registry/oci.ts';
import { canonical, parseReference } from '../../../registry/reference.ts';
import { imageManifest } from '../../../registry/manifest.ts';
import { selectManifest } from '../../../registry/select.ts';
import { type ArchivedImage, fromArchive, layoutEntries, layoutImage } from '../archive.ts';
import { readConfig } from '../source.ts';
import { directoryTree } from './directory.ts';
import type { OutgoingImage, Source, Tree } from './transport.ts';

/** A layout, whose index may hold several platforms of one name. */
export class LayoutSource implements Source {
  readonly #directory: string;
  readonly #reference: string | undefined;

  constructor(directory: string, reference: string | undefined) {
    this.#directory = directory;
    this.#reference = reference;
  }

  async image(platform: Platform): Promise<OutgoingImage> {
    const layout = layoutEntries(this.#directory, this.#reference);
    const { entries } = layout;
    if (entries.length !== 1 && this.#reference === undefined) throw ambiguous(this.#reference, entries.length);
    return await layoutImage(layout, platform, this.#reference ?? entries[0]!.digest);
  }

  async tree(): Promise<Tree> {
    const { entries, document, blob } = layoutEntries(this.#directory, this.#reference);
    if (entries.length === 1) return { root: await document(entries[0]!), document, blob };
    throw ambiguous(this.#reference, entries.length);
  }
}

export class DockerArchiveSource implements Source {
  readonly #directory: string;
  readonly #reference: string | undefined;

  constructor(directory: string, reference: string | undefined) {
    this.#directory = directory;
    this.#reference = reference;
  }

  async image(platform: Platform): Promise<OutgoingImage> {
    return chosen(await fromArchive(this.#directory, platform), this.#reference);
  }
}

export class DirectorySource implements Source {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async image(platform: Platform, signal?: AbortSignal): Promise<OutgoingImage> {
    const { root, document, blob } = directoryTree(this.#path);
    const name = `dir:${this.#path}`;
    const selected = imageManifest(await selectManifest(root, platform, document, name), name);
    const { config, layers } = selected.manifest;
    return {
      name,
      manifest: selected,
      config: { digest: config.digest, bytes: await readConfig(config, name, blob(config, signal)) },
      layers: layers.map((layer) => ({
        digest: layer.digest,
        size: layer.size,
        open: (stop: AbortSignal) => blob(layer, stop),
      })),
    };
  }

  async tree(): Promise<Tree> {
    return directoryTree(this.#path);
  }
}

/** Every image of a directory that is a layout, what `docker save` packs, or skopeo's `dir:`. */
export async function imagesIn(directory: string, platform: Platform): Promise<ArchivedImage[]> {
  // `dir:` says its version beside the manifest; `docker save` has a list under that name.
  if (!existsSync(join(directory, 'version'))) return await fromArchive(directory, platform);
  return [{ ...(await new DirectorySource(directory).image(platform)), references: [] }];
}

/** By name, by its place in the list (`@1`), or the only one. */
function chosen(images: ArchivedImage[], reference: string | undefined): ArchivedImage {
  if (reference === undefined || images.length === 1) {
    if (images.length === 1 && (reference === undefined || isNamed(images[0]!, reference))) return images[0]!;
    if (reference === undefined) throw ambiguous(reference, images.length);
  }
  const place = /^@(\d+)$/.exec(reference ?? '')?.[1];
  const found = place === undefined ? images.find((one) => isNamed(one, reference!)) : images[Number(place)];
  if (found) return found;
  const names = images.flatMap(({ references, name }) => (references.length > 0 ? references : [name])).join(', ');
  throw new NotFoundError('IMAGE_NOT_FOUND', `no image ${reference} in the archive: it has ${names || 'none'}`);
}

function isNamed({ references, name }: ArchivedImage, reference: string): boolean {
  if (name === reference || references.includes(reference)) return true;
  try {
    return references.includes(canonical(parseReference(reference)));
  } catch {
    return false;
  }
}

function ambiguous(reference: string | undefined, count: number): ImageError {
  const what = reference === undefined ? 'the archive' : reference;
  const cure = count === 0 ? 'there is nothing to copy' : 'say which: PATH:NAME, or PATH:@0 for the first';
  return new ImageError('ARCHIVE_AMBIGUOUS', `${what} has ${count} images: ${cure}`);
}
