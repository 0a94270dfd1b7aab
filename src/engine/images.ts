// The images of one engine: finding, fetching, naming, describing and removing them.
// How bytes arrive is images/ingest.ts's and src/registry's; what a row looks like is the database's.

import type {
  EnsureOptions,
  ImageInspect,
  ImageSummary,
  ImportOptions,
  LoadResult,
  PullResult,
  ReadyImage,
  RemovedItem,
  TransferOptions,
} from './images/types.ts';

export type * from './images/types.ts';

export interface ImagesOptions {
  /** ROOT of the engine: absolute, exists. */
  root: string;
  /** Registries spoken to over plain http, or https without a known certificate: `host[:port]`. Loopback needs no entry. */
  insecureRegistries?: readonly string[] | undefined;
}

export class Images {
  protected readonly options: ImagesOptions;

  constructor(options: ImagesOptions) {
    this.options = options;
  }

  /** The image, fetched or made where the policy says so. `host:…` is made from this machine's own programs. */
  ensure(reference: string, options: EnsureOptions = {}): Promise<ReadyImage> {
    return Promise.reject(new Error(`images cannot be fetched yet: ${reference} ${options.pull}`));
  }

  /** Asks the registry, whatever is here. */
  pull(reference: string, options: TransferOptions = {}): Promise<PullResult> {
    return Promise.reject(new Error(`images cannot be fetched yet: ${reference} ${options.platform}`));
  }

  /** Every image of a `docker save` or OCI archive: a path, or a stream. */
  load(archive: string | NodeJS.ReadableStream, options: TransferOptions = {}): Promise<LoadResult[]> {
    return Promise.reject(new Error(`images cannot be loaded yet: ${String(archive)} ${options.platform}`));
  }

  /** A root file system's tar as an image of one layer. Resolves to its id. */
  import(archive: string | NodeJS.ReadableStream, options: ImportOptions = {}): Promise<string> {
    return Promise.reject(new Error(`images cannot be imported yet: ${String(archive)} ${options.reference}`));
  }

  /** Newest first; an untagged image is there once, with nulls. */
  list(): ImageSummary[] {
    return [];
  }

  /** IMAGE_NOT_FOUND where there is none. */
  inspect(reference: string): ImageInspect {
    throw new Error(`No such image: ${reference}`);
  }

  /** What `reference` (a name, an id, the beginning of an id) means in this store, or null. Asks no registry. */
  resolve(reference: string): ReadyImage | null {
    void reference;
    return null;
  }

  /** Docker's `rmi`: takes the name away, and the image with its last one. IMAGE_IN_USE where a container needs it. */
  remove(reference: string, options: { force?: boolean | undefined } = {}): Promise<RemovedItem[]> {
    return Promise.reject(new Error(`No such image: ${reference} ${options.force}`));
  }
}
