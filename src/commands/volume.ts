// `kapsel volume …`: directories that outlive containers. Three short verbs of one noun.
import { defineCommand } from '../cli/command.ts';
import { text, yes } from '../cli/values/basic.ts';
import { label } from '../cli/values/environment.ts';
import { filter, filters } from '../cli/values/filter.ts';
import { printListing } from './listing.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';

const columns = [
  { field: 'Driver', header: 'DRIVER' },
  { field: 'Name', header: 'VOLUME NAME' },
];

export const volumeList = defineCommand({
  name: 'volume ls',
  summary: 'List volumes',
  flags: {
    filter: { value: filter, short: 'f', multiple: true, description: 'Provide filter values (e.g. "name=data")' },
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    quiet: { value: yes, short: 'q', description: 'Only display volume names' },
  },
  arguments: [],
  examples: [{ command: 'volume ls', description: 'All of them' }],
  async run({ flags }, context) {
    const engine = await context.engine();
    const { name: names = [], label: labels = [] } = filters(flags.filter, ['name', 'label']);
    const found = (await engine.volumes.list()).filter(
      (volume) =>
        names.every((part) => volume.name.includes(part)) &&
        labels.every((wanted) => {
          const [key = '', value] = wanted.split(/=(.*)/s);
          return key in volume.labels && (value === undefined || volume.labels[key] === value);
        }),
    );
    if (flags.quiet) {
      for (const { name } of found) printLine(name);
      return;
    }
    printListing({
      columns,
      headers: { Mountpoint: 'MOUNTPOINT', Labels: 'LABELS', Scope: 'SCOPE' },
      rows: found.map((volume) => ({
        Driver: 'local',
        Name: volume.name,
        Mountpoint: volume.mountpoint,
        Labels: Object.entries(volume.labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(','),
        Label: (key: string) => volume.labels[key] ?? '',
        Scope: 'local',
      })),
      format: flags.format,
    });
  },
});

export const volumeCreate = defineCommand({
  name: 'volume create',
  summary: 'Create a volume',
  flags: { label: { value: label, multiple: true, description: 'Set metadata for a volume' } },
  arguments: [{ name: 'VOLUME' }],
  examples: [{ command: 'volume create data', description: 'Where `run -v data:/data` finds it' }],
  async run({ flags, args: [name] }, context) {
    const engine = await context.engine();
    const volume = await engine.volumes.create({
      ...(name !== undefined && { name }),
      labels: Object.fromEntries(flags.label),
    });
    printLine(volume.name);
  },
});

export const volumeRemove = defineCommand({
  name: 'volume rm',
  summary: 'Remove one or more volumes',
  flags: { force: { value: yes, short: 'f', description: 'Do not complain of volumes that are not there' } },
  arguments: [{ name: 'VOLUME', required: true, multiple: true }],
  examples: [{ command: 'volume rm data', description: 'Not while a container uses it' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      await engine.volumes.remove(name, { force: flags.force ?? false });
      printLine(name);
    });
  },
});
