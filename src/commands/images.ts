// `kapsel images`: the images of this engine.
import { defineCommand } from '../cli/command.ts';
import { parseBoolean, text, yes } from '../cli/values/basic.ts';
import { filter, filters, filterValue } from '../cli/values/filter.ts';
import { timestamp } from '../cli/values/time.ts';
import type { ImageFilters, ImageSummary } from '../engine/images.ts';
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
    const found = engine.images.list({ all: flags.all, filters: imageFilters(flags.filter, pattern) });
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

/** What `--filter` and the pattern mean. */
function imageFilters(given: readonly (readonly [string, string])[], pattern: string | undefined): ImageFilters {
  const known = ['before', 'dangling', 'label', 'reference', 'since', 'until'];
  const { before, dangling, label: labels, reference = [], since, until } = filters(given, known);
  const references = [...reference, ...(pattern === undefined ? [] : [pattern])];
  return {
    before,
    labels,
    since,
    ...(dangling && { dangling: filterValue('dangling', dangling, parseBoolean) }),
    ...(until && { until: filterValue('until', until, timestamp.parse) }),
    ...(references.length > 0 && { references }),
  };
}

export function shortId(id: string, full: boolean): string {
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
    // What Docker says where it has not counted.
    Containers: 'N/A',
    SharedSize: 'N/A',
    UniqueSize: 'N/A',
    VirtualSize: humanSize(image.size),
  };
}
