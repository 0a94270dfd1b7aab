// `docker://`: a repository of a registry, as a source and a sink.

import type { Document } from '../../../registry/manifest.ts';
import type { Descriptor, Platform } from '../../../registry/oci.ts';
import { canonical, type Reference } from '../../../registry/reference.ts';
import type { Repository } from '../../../registry/repository.ts';
import { fromRegistry } from '../source.ts';
import { shown } from '../words.ts';
import type { Compression, Content, OutgoingImage, Sink, Source, Tree } from './transport.ts';

export class RegistrySource implements Source {
  readonly #repository: Repository;
  readonly #reference: Reference;

  constructor(repository: Repository, reference: Reference) {
    this.#repository = repository;
    this.#reference = reference;
  }

  async image(platform: Platform, signal?: AbortSignal): Promise<OutgoingImage> {
    const image = await fromRegistry(this.#repository, shown(canonical(this.#reference)), platform, signal);
    const { registry, repository } = this.#reference;
    return {
      ...image,
      layers: image.layers.map((layer) => {
        const { digest = '', size } = layer;
        return { ...layer, forms: [{ diffId: '', digest, size, mediaType: '', registry, repository }] };
      }),
    };
  }

  async tree(signal?: AbortSignal): Promise<Tree> {
    const repository = this.#repository;
    return {
      root: await repository.root(signal),
      document: (entry, stop) => repository.manifest(entry, stop),
      blob: (descriptor, stop) => repository.blob(descriptor, stop),
      origin: this.#reference,
    };
  }
}

export class RegistrySink implements Sink {
  readonly compression: Compression = 'gzip';
  /** As many uploads as Docker has at a time. */
  readonly parallel = 5;
  readonly #repository: Repository;
  readonly #reference: Reference;
  /** What has been sent, or is being: two layers of one content are one. */
  readonly #sent = new Map<string, Promise<Descriptor>>();

  constructor(repository: Repository, reference: Reference) {
    this.#repository = repository;
    this.#reference = reference;
  }

  blob(content: Content, signal: AbortSignal): Promise<Descriptor> {
    const { digest } = content;
    if (digest === undefined) return this.#put(content, signal);
    const sent = this.#sent.get(digest) ?? this.#put(content, signal);
    this.#sent.set(digest, sent);
    return sent;
  }

  async #put(content: Content, signal: AbortSignal): Promise<Descriptor> {
    const { mediaType, digest, size, open, onProgress } = content;
    const there = await this.#there(content, signal);
    if (there) return there;
    onProgress?.('pushing', 0);
    const blob = {
      open: (stop: AbortSignal | undefined) => open(stop ?? signal),
      digest,
      size,
      onBytes: (bytes: number) => onProgress?.('pushing', bytes),
    };
    return { mediaType, ...(await this.#repository.uploadBlob(blob, signal)) };
  }

  /** The same bytes, or another form of the same content, if the registry has it already. */
  async #there({ mediaType, digest, size, forms, onProgress }: Content, signal: AbortSignal) {
    const { registry, repository } = this.#reference;
    if (digest !== undefined && size !== undefined && (await this.#repository.hasBlob(digest, signal))) {
      onProgress?.('exists', size);
      return { mediaType, digest, size };
    }
    const described = (form: { digest: string; size: number; mediaType: string }): Descriptor => ({
      mediaType: form.mediaType || mediaType,
      digest: form.digest,
      size: form.size,
    });
    const here = forms?.filter((form) => form.registry === registry) ?? [];
    for (const form of here.filter((one) => one.repository === repository)) {
      if (form.digest !== digest && !(await this.#repository.hasBlob(form.digest, signal))) continue;
      if (form.digest === digest) continue;
      onProgress?.('exists', form.size);
      return described(form);
    }
    for (const form of here.filter((one) => one.repository !== repository)) {
      if (!(await this.#repository.mountBlob(form.digest, form.repository, signal))) continue;
      onProgress?.('mounted', form.size);
      return described(form);
    }
    return undefined;
  }

  async manifest(document: Document, names: readonly string[] | undefined, signal: AbortSignal): Promise<void> {
    const { digest, bytes, mediaType } = document;
    const target = names === undefined ? digest : (this.#reference.digest ?? this.#reference.tag ?? 'latest');
    await this.#repository.putManifest(target, bytes, mediaType, signal);
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  /** Blobs without a manifest are the registry's to collect. */
  discard(): Promise<void> {
    return Promise.resolve();
  }
}
