// The words of the image rooms: what goes in and what comes out of `Images`.
// The shapes of documents on the wire (manifests, configs) are OCI's and live in src/registry/oci.ts.

import type { Access } from '../../registry/client.ts';
import type { Descriptor, ImageConfig, Platform } from '../../registry/oci.ts';
import type { Unpacked, UnpackOptions } from './worker.ts';

/** When to ask the registry: only if the image is not here, every time, or not at all. Docker's `--pull`. */
export type PullPolicy = 'missing' | 'always' | 'never';

/**
 * What happens to one layer of a pull.
 * `waiting`: known, nothing moved yet. `exists`: it was here already. `waiting-other`: another process fetches it.
 * `downloading`: `bytes` of `total` compressed bytes have gone through hash, inflate and untar. `done`: it is in the store.
 * Of a push: `pushing`, then `pushed`, or `mounted` where the registry took it over from another of its repositories.
 */
export type LayerPhase =
  | 'waiting'
  | 'exists'
  | 'waiting-other'
  | 'downloading'
  | 'done'
  | 'pushing'
  | 'pushed'
  | 'mounted';

export interface LayerProgress {
  /** The digest of the layer as it travels: `sha256:HEX`. */
  layer: string;
  phase: LayerPhase;
  bytes: number;
  /** Compressed bytes, where the source says. */
  total: number | undefined;
}

export interface TransferOptions extends Access {
  /** `os/arch[/variant]`, or parsed; this machine's by default. */
  platform?: string | Platform | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: LayerProgress) => void) | undefined;
}

/** Where a copy and its kin go beyond a transfer. */
export interface CopyOptions extends TransferOptions {
  /** Where the two ends are spoken to in different ways. */
  sourceAccess?: Access | undefined;
  destinationAccess?: Access | undefined;
  /** Everything that an index leads to, byte for byte, instead of one platform. */
  all?: boolean | undefined;
  /** The media types of the manifest; those it has by default. */
  format?: 'oci' | 'docker' | undefined;
  /** Of layers that have to be packed: those of the store. `gzip` by default, `none` in `docker save`'s archive. */
  compression?: 'none' | 'gzip' | 'zstd' | undefined;
}

/** podman's words for what `save` writes. */
export type SaveFormat = 'docker-archive' | 'oci-archive' | 'oci-dir' | 'docker-dir';

export interface SaveOptions extends Omit<CopyOptions, 'all' | 'format' | 'platform'> {
  /** `docker-archive` by default. */
  format?: SaveFormat | undefined;
}

export interface PushResult {
  /** As it was pushed. */
  reference: string;
  /** Of the manifest. */
  digest: string;
  /** Bytes of the manifest: what Docker calls its size. */
  size: number;
}

export interface EnsureOptions extends TransferOptions {
  /** `missing` by default. */
  pull?: PullPolicy | undefined;
}

/** An image that is in the store, ready to be the lower layers of a container. */
export interface ReadyImage {
  /** The digest of its config: `sha256:HEX`. */
  id: string;
  /** As a user would write it: `debian:12`, `127.0.0.1:5000/a@sha256:…`, `host:bash`. */
  reference: string;
  config: ImageConfig;
  /** Absolute directories, topmost first: overlay's order. */
  layers: string[];
}

export interface PullResult extends ReadyImage {
  /** The digest of the manifest, or of the index, that the registry gave for the reference; none for archives. */
  digest: string | undefined;
  /** False where everything was here already. */
  changed: boolean;
}

export interface LoadResult {
  id: string;
  /** References the archive gave this image; empty where it has no name. */
  references: string[];
}

export interface ImportOptions {
  /** `name[:tag]` for the result. */
  reference?: string | undefined;
  /** Dockerfile instructions laid over the config: `CMD ["sh"]`, `ENV A=b`. */
  changes?: readonly string[] | undefined;
  message?: string | undefined;
  platform?: string | Platform | undefined;
  /** Seconds since 1970: the image is of then, so that the same tar is the same image. */
  sourceDateEpoch?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** What an entry of a manifest list says beyond its digest. */
export interface ListAnnotations {
  os?: string | undefined;
  architecture?: string | undefined;
  variant?: string | undefined;
  osVersion?: string | undefined;
  osFeatures?: string[] | undefined;
}

/** Docker's `manifest inspect -v`. */
export interface ManifestDetails {
  Ref: string;
  Descriptor: Descriptor;
  Manifest: object;
}

/** An image with its layers, the lowest first. */
export interface ImageTree {
  id: string;
  reference: string;
  /** Unpacked bytes. */
  size: number;
  layers: {
    diffId: string;
    /** Unpacked bytes. */
    size: number;
    createdBy: string;
    /** Names, or ids where there is none, of the other images that have it. */
    sharedBy: string[];
  }[];
}

/** A path at which the trees of two images are not the same. */
export interface ImageDifference {
  /** Only the second has it, both do but it is another, only the first has it. */
  kind: 'A' | 'C' | 'D';
  path: string;
  type: 'file' | 'directory' | 'symlink' | 'other';
  /** What differs where both have it: its type, or some of the others. */
  what: ('type' | 'mode' | 'owner' | 'content' | 'attributes' | 'time')[];
  /** Bytes of a file in the first, and in the second. */
  before: number | null;
  after: number | null;
}

/** For the engine's own rooms: an image that has one layer more than another. */
export interface Extension {
  /** The other's diffIDs, lowest first. */
  below: readonly string[];
  parentId: string | null;
  reference?: string | undefined;
  fill: (options: UnpackOptions) => Promise<Unpacked>;
  /** The config, given the new layer's diffID. */
  config: (diffId: string) => ImageConfig;
  signal?: AbortSignal | undefined;
}

/** A line of `kapsel images`: one reference, or an image without any. */
export interface ImageSummary {
  id: string;
  /** Null for an untagged image. */
  repository: string | null;
  tag: string | null;
  digest: string | null;
  /** RFC 3339; when the image was made. */
  created: string;
  /** Unpacked bytes of all layers. */
  size: number;
  labels: Readonly<Record<string, string>>;
}

/** Which images a list is to hold: those for which everything given is true. */
export interface ImageFilters {
  /** Without any name, or with one. */
  dangling?: boolean | undefined;
  /** `KEY` or `KEY=value`: all of them. */
  labels?: readonly string[] | undefined;
  /** Made before, or after, the images of these references. */
  before?: readonly string[] | undefined;
  since?: readonly string[] | undefined;
  /** Made before this time: RFC 3339. */
  until?: string | undefined;
  /** `debian`, `deb*:1?`: one of them. */
  references?: readonly string[] | undefined;
}

export interface ImageListOptions {
  /** Those without a name too that other images were made from. */
  all?: boolean | undefined;
  filters?: ImageFilters | undefined;
}

/** A step of how an image was made. */
export interface HistoryEntry {
  /** Of the image itself, for its last step; the others have none any more. */
  id: string | null;
  /** RFC 3339. */
  created: string | null;
  createdBy: string;
  comment: string;
  /** Unpacked bytes that it added. */
  size: number;
  /** Its layer; null where it added none. */
  diffId: string | null;
}

export interface RemoveImageOptions {
  /** Also where several repositories name it, or a container that does not run uses it. */
  force?: boolean | undefined;
  /** Keep the images without a name that it was made from. */
  noPrune?: boolean | undefined;
}

/** One line of what `remove` did, in Docker's words. */
export type RemovedItem = { untagged: string } | { deleted: string };

/** Docker's `image inspect`, as far as it means something here. */
export interface ImageInspect {
  Id: string;
  RepoTags: string[];
  RepoDigests: string[];
  /** The image it was committed from, or empty. */
  Parent: string;
  Comment: string;
  Created: string;
  Author: string;
  Architecture: string;
  Variant?: string;
  Os: string;
  Size: number;
  VirtualSize: number;
  Config: NonNullable<ImageConfig['config']>;
  RootFS: { Type: 'layers'; Layers: string[] };
  Metadata: { LastTagTime: string };
}
