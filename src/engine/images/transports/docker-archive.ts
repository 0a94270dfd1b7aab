// `docker save`'s archive as a sink: plain layers, configs, manifest.json, and the older `repositories`.

import { ImageError } from '../../errors.ts';
import type { Document } from '../../../registry/manifest.ts';
import type { Descriptor } from '../../../registry/oci.ts';
import { canonical, familiar, familiarName, parseReference } from '../../../registry/reference.ts';
import type { Files, WrittenFile } from './files.ts';
import { json, once, wrongDigest } from './layout.ts';
import type { Compression, Content, Sink } from './transport.ts';

interface Entry {
  Config: string;
  RepoTags: string[] | null;
  Layers: string[];
}

export class DockerArchiveSink implements Sink {
  readonly format = 'docker';
  readonly compression: Compression = 'none';
  readonly parallel = 1;
  readonly #files: Files;
  readonly #written = new Map<string, number>();
  readonly #entries: Entry[] = [];

  constructor(files: Files) {
    this.#files = files;
  }

  async blob({ role, mediaType, digest, open }: Content, signal: AbortSignal): Promise<Descriptor> {
    const known = digest === undefined ? undefined : this.#written.get(digest);
    if (digest !== undefined && known !== undefined) return { mediaType, digest, size: known };
    const name = ({ digest: found }: WrittenFile) => (role === 'config' ? configName(found) : layerName(found));
    const written = await this.#files.add(open(signal), name);
    this.#written.set(written.digest, written.size);
    if (digest !== undefined && written.digest !== digest) throw wrongDigest(digest, written);
    return { mediaType, ...written };
  }

  manifest(document: Document, names: readonly string[] | undefined): Promise<void> {
    if (document.kind === 'index') {
      throw new ImageError(
        'FORMAT_UNSUPPORTED',
        "docker save's archive holds one platform: copy one, or to oci-archive:",
      );
    }
    const { config, layers } = document.manifest;
    const tags = (names ?? []).map((name) => familiar(parseReference(name)));
    this.#entries.push({
      Config: configName(config.digest),
      RepoTags: tags.length > 0 ? tags : null,
      Layers: layers.map(({ digest }) => layerName(digest)),
    });
    return Promise.resolve();
  }

  async finish(): Promise<void> {
    const repositories: Record<string, Record<string, string>> = {};
    for (const { RepoTags, Layers } of this.#entries) {
      const top = Layers.at(-1)?.replace(/\.tar$/, '');
      for (const name of top === undefined ? [] : (RepoTags ?? [])) {
        const reference = parseReference(name);
        (repositories[familiarName(reference)] ??= {})[reference.tag ?? 'latest'] = top!;
      }
    }
    await this.#files.add(once(json(this.#entries)), () => 'manifest.json');
    if (Object.keys(repositories).length > 0) await this.#files.add(once(json(repositories)), () => 'repositories');
    await this.#files.finish();
  }

  discard(): Promise<void> {
    return this.#files.discard();
  }
}

function configName(digest: string): string {
  return `${digest.slice('sha256:'.length)}.json`;
}

function layerName(digest: string): string {
  return `${digest.slice('sha256:'.length)}.tar`;
}

/** A name that Docker takes: with a tag and no digest. */
export function archiveName(name: string): string {
  const reference = parseReference(name);
  if (reference.digest === undefined) return canonical(reference);
  throw new ImageError(
    'REFERENCE_INVALID',
    `cannot save ${name} under that name: docker save's archive has no digests`,
  );
}
