// How an image is shown: its names as users write them, and Docker's shapes of it.

import type { ImageRow } from '../../native.ts';
import type { ImageConfig } from '../../registry/oci.ts';
import { familiar, familiarName, parseReference } from '../../registry/reference.ts';
import { hostPrefix } from './host-memory.ts';
import type { ImageInspect, ImageSummary } from './types.ts';

/** The first twelve digits, as Docker shows ids. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

/** A stored name as a user would type it. */
export function shown(stored: string): string {
  return stored.startsWith(hostPrefix) ? stored : familiar(parseReference(stored));
}

/** Repository and tag or digest of a stored name. */
export function parts(stored: string): { repository: string; tag: string | null; digest: string | null } {
  if (stored.startsWith(hostPrefix)) {
    return { repository: 'host', tag: stored.slice(hostPrefix.length) || null, digest: null };
  }
  const reference = parseReference(stored);
  return { repository: familiarName(reference), tag: reference.tag ?? null, digest: reference.digest ?? null };
}

/** A line for each tag; one for a repository that is known by digest alone; one without any name. */
export function summaries(row: ImageRow): ImageSummary[] {
  const common = { id: row.id, created: row.createdAt ?? '1970-01-01T00:00:00Z', size: row.size };
  const names = row.references.map(parts);
  const digestOf = (repository: string): string | null =>
    names.find((name) => name.repository === repository && name.digest !== null)?.digest ?? null;
  const lines = names
    .filter(({ digest }) => digest === null)
    .map(({ repository, tag }) => ({ ...common, repository, tag, digest: digestOf(repository) }));
  const tagged = new Set(lines.map(({ repository }) => repository));
  for (const { repository, digest } of names) {
    if (!tagged.has(repository)) lines.push({ ...common, repository, tag: null, digest });
    tagged.add(repository);
  }
  return lines.length > 0 ? lines : [{ ...common, repository: null, tag: null, digest: null }];
}

/** Docker's `image inspect`. */
export function inspection(row: ImageRow): ImageInspect {
  const config = row.config as ImageConfig;
  const names = row.references.map((stored) => ({ stored, ...parts(stored) }));
  return {
    Id: row.id,
    RepoTags: names.filter(({ digest }) => digest === null).map(({ stored }) => shown(stored)),
    RepoDigests: names.flatMap(({ repository, digest }) => (digest === null ? [] : [`${repository}@${digest}`])),
    Comment: config.comment ?? config.history?.at(-1)?.comment ?? '',
    Created: row.createdAt ?? '',
    Author: config.author ?? '',
    Architecture: config.architecture,
    ...(config.variant && { Variant: config.variant }),
    Os: config.os,
    Size: row.size,
    Config: config.config ?? {},
    RootFS: { Type: 'layers', Layers: row.diffIds },
  };
}
