// Where images come from and go to, as two small interfaces: a source hands out documents and blobs, a sink takes them.
// A registry, an OCI layout, `docker save`'s archive, skopeo's directory and the store itself are each one or both.

import type { LayerSource } from '../../../native.ts';
import type { Document } from '../../../registry/manifest.ts';
import type { Descriptor, Platform } from '../../../registry/oci.ts';
import type { SourceImage, SourceLayer } from '../source.ts';
import type { Written } from '../worker.ts';

export type Compression = 'none' | 'gzip' | 'zstd';
/** Whose media types a manifest is written in. */
export type Format = 'oci' | 'docker';

/** A layer on its way out. */
export interface OutgoingLayer extends SourceLayer {
  /** Of a stored layer, whose `open` gives the plain tar. */
  diffId?: string;
  /** Compressed forms that registries have of it. */
  forms?: readonly LayerSource[];
  /** How its bytes are packed, where no manifest says. */
  compression?: Compression;
  /** Makes a compressed form of plain bytes; its digest is known at the end, and whoever checks what it reads tells it. */
  pack?: (
    compression: Compression,
    signal: AbortSignal,
  ) => { stream: AsyncIterable<Uint8Array>; verdict?: Promise<Written> };
}

export interface OutgoingImage extends SourceImage {
  layers: OutgoingLayer[];
}

/** Everything that hangs on one reference, as it is: what a copy of all platforms moves. */
export interface Tree {
  root: Document;
  document(entry: Descriptor, signal?: AbortSignal): Promise<Document>;
  blob(descriptor: Descriptor, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** The repository it is in, where it is in one. */
  origin?: { registry: string; repository: string };
}

export interface Source {
  /** The image for a platform. */
  image(platform: Platform, signal?: AbortSignal): Promise<OutgoingImage>;
  /** Absent where there is one image and no index. */
  tree?(signal?: AbortSignal): Promise<Tree>;
}

/** A blob that a sink is offered. */
export interface Content {
  role: 'config' | 'layer';
  mediaType: string;
  /** What is known before; the bytes must be so. */
  digest: string | undefined;
  size: number | undefined;
  /** All bytes from the first on, again at each call. */
  open(signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** What would do as well, where the sink has it. */
  forms?: readonly LayerSource[] | undefined;
  onProgress?: ((phase: 'exists' | 'mounted' | 'pushing', bytes: number) => void) | undefined;
}

export interface Sink {
  /** What it can hold: undefined for both. */
  readonly format?: Format;
  /** How layers are packed that have to be packed anyway. */
  readonly compression: Compression;
  /** How many blobs it takes at a time. */
  readonly parallel: number;
  /** Takes a blob unless it has it, and says what it is there. */
  blob(content: Content, signal: AbortSignal): Promise<Descriptor>;
  /** Takes a document whose blobs and entries it has; `names` where it is what was asked for, not a part of it. */
  manifest(document: Document, names: readonly string[] | undefined, signal: AbortSignal): Promise<void>;
  /** Makes visible what it was given. */
  finish(): Promise<void>;
  /** Takes back what it can, after a failure. */
  discard(): Promise<void>;
}
