// `kapsel images`: the images of this engine.
import { defineCommand } from '../cli/command.ts';
import { text, yes } from '../cli/values/basic.ts';
import { filter, filters } from '../cli/values/filter.ts';
import type { ImageSummary } from '../engine/images.ts';
import { printListing } from './listing.ts';
import { printLine } from '../ui/output.ts';
import { ago, humanSize, longTime } from '../ui/units.ts';

const columns = [
  { field: 'Repository', header: 'REPOSITORY' },
  { field: 'Tag', header: 'TAG' },
  { field: 'ID', header: 'IMAGE ID' },
  { field: 'CreatedSince', header: 'CREATED' },
  { field: 'Size', header: 'SIZE' },
];
const digest = { field: 'Digest', header: 'DIGEST' };

export const images = defineCommand({
  name: 'images',
  summary: 'List images',
  flags: {
    all: { value: yes, short: 'a', description: 'Show all images' },
    digests: { value: yes, description: 'Show digests' },
    filter: { value: filter, short: 'f', multiple: true, description: 'Filter output based on conditions provided' },
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    'no-trunc': { value: yes, description: "Don't truncate output" },
    quiet: { value: yes, short: 'q', description: 'Only show image IDs' },
  },
  arguments: [{ name: 'REPOSITORY[:TAG]' }],
  examples: [{ command: "images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", description: 'In your own words' }],
  async run({ flags, args: [pattern] }, context) {
    const engine = await context.engine();
    const { dangling, reference = [] } = filters(flags.filter, ['dangling', 'reference']);
    const patterns = [...reference, ...(pattern === undefined ? [] : [pattern])];
    const found = engine.images.list().filter((image) => {
      if (dangling && (image.repository === null) !== (dangling.at(-1) === 'true')) return false;
      return patterns.every((wanted) => matches(image, wanted));
    });
    const full = flags['no-trunc'] ?? false;
    if (flags.quiet) {
      for (const id of new Set(found.map((image) => shortId(image.id, full)))) printLine(id);
      return;
    }
    const shown = flags.digests ? [...columns.slice(0, 2), digest, ...columns.slice(2)] : columns;
    printListing({
      columns: shown,
      headers: { CreatedAt: 'CREATED AT', Digest: 'DIGEST' },
      rows: found.map((image) => row(image, full)),
      format: flags.format,
    });
  },
});

function shortId(id: string, full: boolean): string {
  return full ? id : id.replace(/^sha256:/, '').slice(0, 12);
}

function row(image: ImageSummary, full: boolean) {
  return {
    Repository: image.repository ?? '<none>',
    Tag: image.tag ?? '<none>',
    Digest: image.digest ?? '<none>',
    ID: shortId(image.id, full),
    CreatedSince: ago(image.created),
    CreatedAt: longTime(image.created),
    Size: humanSize(image.size),
  };
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
