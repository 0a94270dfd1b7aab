// How an image is shown: its names as users write them, and Docker's shapes of it.

import type { ImageRow } from '../../native.ts';
import type { ImageConfig } from '../../registry/oci.ts';
import { familiar, familiarName, parseReference } from '../../registry/reference.ts';
import { hostPrefix } from './host-memory.ts';
import type { ImageInspect } from './types.ts';

/** The first twelve digits, as Docker shows ids. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

/** A stored name as a user would type it. */
export function shown(stored: string): string {
  return stored.startsWith(hostPrefix) ? stored : familiar(parseReference(stored));
}

/** RFC 3339 of seconds since 1970, as Go writes them. */
export function wholeSeconds(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** Repository and tag or digest of a stored name. */
export function parts(stored: string): { repository: string; tag: string | null; digest: string | null } {
  if (stored.startsWith(hostPrefix)) {
    return { repository: 'host', tag: stored.slice(hostPrefix.length) || null, digest: null };
  }
  const reference = parseReference(stored);
  return { repository: familiarName(reference), tag: reference.tag ?? null, digest: reference.digest ?? null };
}

/** Docker's `image inspect`. */
export function inspection(row: ImageRow): ImageInspect {
  const config = row.config as ImageConfig;
  const names = row.references.map((stored) => ({ stored, ...parts(stored) }));
  return {
    Id: row.id,
    RepoTags: names.filter(({ digest }) => digest === null).map(({ stored }) => shown(stored)),
    RepoDigests: names.flatMap(({ repository, digest }) => (digest === null ? [] : [`${repository}@${digest}`])),
    Parent: row.parentId ?? '',
    Comment: config.comment ?? config.history?.at(-1)?.comment ?? '',
    Created: row.createdAt ?? '',
    Author: config.author ?? '',
    Architecture: config.architecture,
    ...(config.variant && { Variant: config.variant }),
    Os: config.os,
    Size: row.size,
    VirtualSize: row.size,
    Config: config.config ?? {},
    RootFS: { Type: 'layers', Layers: row.diffIds },
    Metadata: { LastTagTime: row.taggedAt ?? '0001-01-01T00:00:00Z' },
  };
}
