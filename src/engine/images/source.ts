// Where images come from, as one small interface: a registry, an OCI layout, a `docker save` archive.
// A source hands out promises (digests, sizes) and bytes; ingest.ts holds it to the promises.

import type { Descriptor, Platform } from '../../registry/oci.ts';
import type { Repository } from '../../registry/repository.ts';
import { configLimit, verify } from '../../registry/manifest.ts';
import type { Blobs } from './blobs.ts';
import { Download, type Downloads, type Fetch } from './downloads.ts';
import { selectManifest } from '../../registry/select.ts';

export interface SourceLayer {
  /** Of the bytes that `open` gives; a `docker save` archive promises none. */
  digest: string | undefined;
  /** Bytes that `open` gives. */
  size: number;
  open: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
  /** The layer is in the store: what was kept for another try can go. */
  done?: () => void;
  /** The bytes were wrong: throws away what was kept of them. True where another try gets others. */
  spoiled?: () => boolean;
}

export interface SourceImage {
  /** As people call it, in errors. */
  name: string;
  /** Checked against its digest, which is the image's id. */
  config: { digest: string; bytes: Buffer };
  /** None in a `docker save` archive. */
  manifest: { digest: string; bytes: Buffer } | undefined;
  /** Lowest first, as many as the manifest has. */
  layers: SourceLayer[];
}

export interface RegistryImage extends SourceImage {
  /** What the reference pointed at: the manifest, or the index that it was chosen from. */
  rootDigest: string;
}

/** What is at hand of an image already, and is not fetched again. */
interface AtHand {
  downloads: Downloads;
  blobs: Blobs;
}

/** The image for a platform out of a repository. */
export async function fromRegistry(
  repository: Repository,
  name: string,
  platform: Platform,
  signal?: AbortSignal,
  { downloads, blobs }: Partial<AtHand> = {},
): Promise<RegistryImage> {
  downloads?.sweep();
  const root = await repository.root(signal);
  const document = await selectManifest(root, platform, (entry) => repository.manifest(entry, signal), name);
  const { config, layers } = document.manifest;
  const stored = await blobs?.find(config.digest);
  // What is not as long as was promised is refused wherever it comes from.
  const pieces = stored ? [stored] : repository.blob(config, signal);
  const bytes = await readConfig(config, name, pieces);
  return {
    name,
    rootDigest: root.digest,
    manifest: document,
    config: { digest: config.digest, bytes },
    layers: layers.map((layer) => layerOf(repository, layer, downloads)),
  };
}

function layerOf(repository: Repository, layer: Descriptor, downloads: Downloads | undefined): SourceLayer {
  const fetch: Fetch = (from, signal) => repository.blob(layer, signal, from);
  const download = downloads?.of(layer, fetch) ?? new Download(undefined, layer.size, fetch);
  return {
    digest: layer.digest,
    size: layer.size,
    open: (signal) => download.bytes(signal),
    done: () => download.forget(),
    spoiled: () => {
      download.forget();
      const isMirrors = repository.distrust(layer.digest);
      return isMirrors || download.kept > 0;
    },
  };
}

/** The bytes of a config, small and what they were promised to be. */
export async function readConfig(
  descriptor: Descriptor,
  name: string,
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Buffer> {
  const what = `the config of ${name}`;
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of bytes) {
    size += piece.length;
    if (size > Math.min(descriptor.size, configLimit)) break;
    pieces.push(piece);
  }
  const whole = Buffer.concat(pieces);
  verify(whole, descriptor, what);
  return whole;
}
