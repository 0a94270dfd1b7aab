// From whatever a reference points at to the one manifest for a platform. Registries and OCI layouts share it.

import { ImageError, NotFoundError } from '../engine/errors.ts';
import { type Document, type ImageDocument, imageManifest } from './manifest.ts';
import { type Descriptor, mediaTypes, type Platform } from './oci.ts';
import { choosePlatform, formatPlatform } from './platform.ts';

/** `fetch` gets a descriptor of the index and gives back checked bytes. `what` is the reference, for people. */
export async function selectManifest(
  root: Document,
  platform: Platform,
  fetch: (descriptor: Descriptor) => Promise<Document>,
  what: string,
): Promise<ImageDocument> {
  if (root.kind === 'manifest') return imageManifest(root, what);
  const chosen = choosePlatform(root.index.manifests, platform);
  if (!chosen) {
    const offered = root.index.manifests
      .flatMap((entry) => (entry.platform && entry.platform.os !== 'unknown' ? [formatPlatform(entry.platform)] : []))
      .join(', ');
    throw new NotFoundError(
      'PLATFORM_NOT_FOUND',
      `no matching manifest for ${formatPlatform(platform)} in ${what}: it has ${offered || 'no image at all'}`,
    );
  }
  // An index in an index could refer to itself for ever, and no tool makes one for platforms.
  const nested = chosen.mediaType === mediaTypes.ociIndex || chosen.mediaType === mediaTypes.dockerList;
  const document = nested ? undefined : await fetch(chosen);
  if (document) return imageManifest(document, what);
  throw new ImageError('MANIFEST_INVALID', `${what} cannot be used: its index leads to another index`);
}
