// Lines of `images`: rows as summaries, and Docker's filters over them. Pure.

import type { ImageRow } from '../../native.ts';
import type { ImageConfig } from '../../registry/oci.ts';
import type { ImageFilters, ImageListOptions, ImageSummary } from './types.ts';
import { parts } from './words.ts';

/** `created` says when an image was made that a filter names. */
export function listed(
  rows: readonly ImageRow[],
  { all = false, filters = {} }: ImageListOptions,
  created: (reference: string) => string,
): ImageSummary[] {
  const before = filters.before?.map(created) ?? [];
  const since = filters.since?.map(created) ?? [];
  const parents = new Set(rows.map(({ parentId }) => parentId));
  return rows
    .filter((row) => all || row.references.length > 0 || !parents.has(row.id))
    .flatMap(summaries)
    .filter((image) => {
      const made = Date.parse(image.created);
      return (
        (filters.dangling === undefined || (image.repository === null) === filters.dangling) &&
        carries(image.labels, filters.labels) &&
        before.every((time) => made < Date.parse(time)) &&
        since.every((time) => made > Date.parse(time)) &&
        (filters.until === undefined || made < Date.parse(filters.until)) &&
        (filters.references === undefined || filters.references.some((pattern) => matches(image, pattern)))
      );
    });
}

/** Whether labels hold all that is wanted, each `KEY` or `KEY=value`. */
export function carries(labels: Readonly<Record<string, string>>, wanted: ImageFilters['labels'] = []): boolean {
  return wanted.every((one) => {
    const equals = one.indexOf('=');
    return equals < 0 ? one in labels : labels[one.slice(0, equals)] === one.slice(equals + 1);
  });
}

/** A line for each tag; one for a repository that is known by digest alone; one without any name. */
export function summaries(row: ImageRow): ImageSummary[] {
  const { id, size } = row;
  const labels = (row.config as ImageConfig).config?.Labels ?? {};
  const common = { id, created: row.createdAt ?? '1970-01-01T00:00:00Z', size, labels };
  const names = row.references.map(parts);
  const digestOf = (repository: string): string | null =>
    names.find((name) => name.repository === repository && name.digest !== null)?.digest ?? null;
  const lines: ImageSummary[] = names
    .filter(({ digest }) => digest === null)
    .map(({ repository, tag }) => ({ ...common, repository, tag, digest: digestOf(repository) }));
  const tagged = new Set(lines.map(({ repository }) => repository));
  for (const { repository, digest } of names) {
    if (!tagged.has(repository)) lines.push({ ...common, repository, tag: null, digest });
    tagged.add(repository);
  }
  return lines.length > 0 ? lines : [{ ...common, repository: null, tag: null, digest: null }];
}

/** `debian`, `debian:12`, `deb*:1?`: a repository, and a tag where the pattern has one. */
export function matches({ repository, tag }: Pick<ImageSummary, 'repository' | 'tag'>, pattern: string): boolean {
  if (repository === null) return false;
  const colon = pattern.lastIndexOf(':');
  const hasTag = colon > pattern.lastIndexOf('/');
  if (hasTag && !glob(pattern.slice(colon + 1)).test(tag ?? '')) return false;
  return glob(hasTag ? pattern.slice(0, colon) : pattern).test(repository);
}

function glob(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]');
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return /^$/; // an unclosed bracket matches nothing
  }
}
