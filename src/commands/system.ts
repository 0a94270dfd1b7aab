// `kapsel system df` and `system check`: what the engine takes of the disk, and whether all of it is sound.
import { interruptible } from '../cli/interrupt.ts';
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { text, yes } from '../cli/values/basic.ts';
import type { DiskUsage, UsageTotals } from '../engine/system.ts';
import { print, printLine } from '../ui/output.ts';
import { quote } from '../ui/plain.ts';
import { ago, ellipsis, humanSize } from '../ui/units.ts';
import { shortId } from './images.ts';
import { printListing } from './listing.ts';

const columns = [
  { field: 'Type', header: 'TYPE' },
  { field: 'TotalCount', header: 'TOTAL' },
  { field: 'Active', header: 'ACTIVE' },
  { field: 'Size', header: 'SIZE' },
  { field: 'Reclaimable', header: 'RECLAIMABLE' },
];

export const systemDf = defineCommand({
  name: 'system df',
  summary: 'Show disk usage',
  description: 'Sizes are of allocated blocks, each file counted once: what RECLAIMABLE says is what a prune frees.',
  flags: {
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    verbose: { value: yes, short: 'v', description: 'Show detailed information on space usage' },
  },
  arguments: [],
  examples: [{ command: 'system df -v', description: 'What each image and container takes' }],
  async run({ flags }, context) {
    const engine = await context.engine();
    const usage = await engine.system.df();
    if (flags.verbose && flags.format !== undefined)
      throw new Failure('-v shows tables of its own: leave --format away');
    if (flags.verbose) {
      printDetails(usage);
      return;
    }
    const rows = [
      row('Images', usage.images),
      row('Containers', usage.containers),
      row('Local Volumes', usage.volumes),
      row('Cache', usage.cache),
    ];
    printListing({ columns, rows, format: flags.format });
  },
});

/** Docker's fields, and the bytes themselves for whoever counts. */
function row(kind: string, { total, active, size, reclaimable }: UsageTotals) {
  const share = size === 0 ? '' : ` (${Math.floor((reclaimable * 100) / size)}%)`;
  return {
    Type: kind,
    TotalCount: String(total),
    Active: String(active),
    Size: humanSize(size),
    Reclaimable: `${humanSize(reclaimable)}${share}`,
    SizeBytes: size,
    ReclaimableBytes: reclaimable,
  };
}

function printDetails({ images, containers, volumes, cache }: DiskUsage): void {
  print('Images space usage:\n\n');
  printListing({
    columns: listed('REPOSITORY', 'TAG', 'IMAGE ID', 'CREATED', 'SIZE', 'SHARED SIZE', 'UNIQUE SIZE', 'CONTAINERS'),
    rows: images.items.flatMap(({ id, names, created, size, shared, unique, containers: users }) =>
      (names.length > 0 ? names : ['<none>:<none>']).map((name) => ({
        REPOSITORY: name.replace(/[:@][^/]*$/, ''),
        TAG: name.includes('@') ? '<none>' : name.slice(name.lastIndexOf(':') + 1),
        'IMAGE ID': shortId(id, false),
        CREATED: created === null ? 'N/A' : ago(created),
        SIZE: humanSize(size),
        'SHARED SIZE': humanSize(shared),
        'UNIQUE SIZE': humanSize(unique),
        CONTAINERS: String(users),
      })),
    ),
  });
  print('\nContainers space usage:\n\n');
  printListing({
    columns: listed('CONTAINER ID', 'IMAGE', 'COMMAND', 'LOCAL VOLUMES', 'SIZE', 'CREATED', 'STATUS', 'NAMES'),
    rows: containers.items.map((item) => ({
      'CONTAINER ID': item.id.slice(0, 12),
      IMAGE: item.image,
      COMMAND: quote(ellipsis(item.command.join(' '), 20)),
      'LOCAL VOLUMES': String(item.volumes),
      SIZE: humanSize(item.size),
      CREATED: ago(item.created),
      STATUS: item.status,
      NAMES: item.name,
    })),
  });
  print('\nLocal Volumes space usage:\n\n');
  printListing({
    columns: listed('VOLUME NAME', 'LINKS', 'SIZE'),
    rows: volumes.items.map(({ name, links, size }) => ({
      'VOLUME NAME': name,
      LINKS: String(links),
      SIZE: humanSize(size),
    })),
  });
  print(`\nCache usage: ${humanSize(cache.size)}, of which ${humanSize(cache.reclaimable)} can be reclaimed\n`);
}

function listed(...headers: string[]): { field: string; header: string }[] {
  return headers.map((header) => ({ field: header, header }));
}

export const systemCheck = defineCommand({
  name: 'system check',
  summary: 'Read every digest of the store again',
  description: 'Exits with 1 where something is damaged and stays so.',
  flags: {
    force: { value: yes, short: 'f', description: 'Also remove containers that stand on damaged layers' },
    quick: { value: yes, short: 'q', description: 'Only look whether everything is there' },
    repair: { value: yes, short: 'r', description: 'Remove what is damaged, and the images that need it' },
  },
  arguments: [],
  examples: [{ command: 'system check --repair', description: 'After a disk has failed; then pull again' }],
  async run({ flags }, context) {
    const engine = await context.engine();
    const interrupt = interruptible();
    try {
      const { layers, documents, damaged } = await engine.system.check({ ...flags, signal: interrupt.signal });
      for (const { what, digest, reason, images, containers, repaired } of damaged) {
        const users = [
          ...images.map((id) => `image ${shortId(id, false)}`),
          ...containers.map((id) => `container ${id.slice(0, 12)}`),
        ];
        printLine(`${repaired ? 'Removed' : 'Damaged'} ${what} ${digest} (of ${users.join(', ')}): ${reason}`);
      }
      printLine(`Checked ${layers} layers and ${documents} documents: ${damaged.length} damaged`);
      return damaged.every(({ repaired }) => repaired) ? 0 : 1;
    } finally {
      interrupt.release();
    }
  },
});
