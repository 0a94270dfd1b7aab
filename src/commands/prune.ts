// `kapsel container prune`, `image prune`, `network prune`, `volume prune` and `system prune`: one work, five questions.
import { defineCommand, type Flags } from '../cli/command.ts';
import { yes } from '../cli/values/basic.ts';
import { filter, filters, filterValue } from '../cli/values/filter.ts';
import { timestamp } from '../cli/values/time.ts';
import type { Pruned, PruneFilters } from '../engine/system.ts';
import { printLine } from '../ui/output.ts';
import { humanSize } from '../ui/units.ts';
import { confirm } from './confirm.ts';

const common = {
  filter: { value: filter, multiple: true, description: "Provide filter values (e.g. 'label=KEY=value', 'until=24h')" },
  force: { value: yes, short: 'f', description: 'Do not prompt for confirmation' },
} satisfies Flags;

const withUntil = ['label', 'label!', 'until'];

export const containerPrune = defineCommand({
  name: 'container prune',
  summary: 'Remove all stopped containers',
  flags: common,
  arguments: [],
  examples: [{ command: 'container prune --filter until=24h', description: 'Those made more than a day ago' }],
  async run({ flags }, context) {
    const chosen = pruneFilters(flags.filter, withUntil);
    confirm(flags.force, 'This will remove all stopped containers.', 'container prune');
    const engine = await context.engine();
    report(await engine.system.prune({ kinds: ['containers'], filters: chosen }));
  },
});

export const imagePrune = defineCommand({
  name: 'image prune',
  summary: 'Remove unused images',
  flags: {
    ...common,
    all: { value: yes, short: 'a', description: 'Remove all unused images, not just dangling ones' },
  },
  arguments: [],
  examples: [{ command: 'image prune -a', description: 'All that no container was made of' }],
  async run({ flags }, context) {
    const chosen = pruneFilters(flags.filter, withUntil);
    const which = flags.all ? 'all images without at least one container associated to them' : 'all dangling images';
    confirm(flags.force, `This will remove ${which}.`, 'image prune');
    const engine = await context.engine();
    report(await engine.system.prune({ kinds: ['images'], allImages: flags.all, filters: chosen }));
  },
});

export const volumePrune = defineCommand({
  name: 'volume prune',
  summary: 'Remove unused local volumes',
  flags: {
    ...common,
    all: { value: yes, short: 'a', description: 'Remove all unused volumes, not just anonymous ones' },
  },
  arguments: [],
  examples: [{ command: 'volume prune -a', description: 'Those with a name too' }],
  async run({ flags }, context) {
    const chosen = pruneFilters(flags.filter, ['label', 'label!']);
    const which = flags.all ? 'all' : 'anonymous';
    const warning = `This will remove ${which} local volumes not used by at least one container.`;
    confirm(flags.force, warning, 'volume prune');
    const engine = await context.engine();
    report(await engine.system.prune({ kinds: ['volumes'], allVolumes: flags.all, filters: chosen }));
  },
});

export const networkPrune = defineCommand({
  name: 'network prune',
  summary: 'Remove all unused networks',
  flags: common,
  arguments: [],
  examples: [{ command: 'network prune -f', description: 'Those that no container is on' }],
  async run({ flags }, context) {
    const chosen = pruneFilters(flags.filter, withUntil);
    const warning = 'This will remove all custom networks not used by at least one container.';
    confirm(flags.force, warning, 'network prune');
    const engine = await context.engine();
    const { networks } = await engine.system.prune({ kinds: ['networks'], filters: chosen });
    block('Deleted Networks:', networks);
  },
});

export const systemPrune = defineCommand({
  name: 'system prune',
  summary: 'Remove unused data',
  flags: {
    ...common,
    all: { value: yes, short: 'a', description: 'Remove all unused images, not just dangling ones' },
    volumes: { value: yes, description: 'Prune anonymous volumes' },
  },
  arguments: [],
  examples: [{ command: 'system prune -a --volumes', description: 'Everything that no running container needs' }],
  async run({ flags }, context) {
    const chosen = pruneFilters(flags.filter, flags.volumes ? ['label', 'label!'] : withUntil);
    const lines = [
      'all stopped containers',
      'all networks not used by at least one container',
      ...(flags.volumes ? ['all anonymous volumes not used by at least one container'] : []),
      flags.all ? 'all images without at least one container associated to them' : 'all dangling images',
      'all interrupted downloads, and what processes that died have left',
    ];
    confirm(flags.force, `This will remove:\n${lines.map((line) => `  - ${line}\n`).join('')}`, 'system prune');
    const engine = await context.engine();
    const kinds = [
      'containers',
      'networks',
      'images',
      'cache',
      ...(flags.volumes ? ['volumes' as const] : []),
    ] as const;
    report(await engine.system.prune({ kinds, allImages: flags.all, filters: chosen }));
  },
});

function pruneFilters(given: readonly (readonly [string, string])[], known: readonly string[]): PruneFilters {
  const { label: labels, 'label!': withoutLabels, until } = filters(given, known);
  return { labels, withoutLabels, ...(until && { until: filterValue('until', until, timestamp.parse) }) };
}

function block(heading: string, lines: readonly string[]): void {
  if (lines.length > 0) printLine([heading, ...lines, ''].join('\n'));
}

function report({ containers, networks, images, volumes, reclaimed }: Pruned): void {
  block('Deleted Containers:', containers);
  block('Deleted Networks:', networks);
  block('Deleted Volumes:', volumes);
  const words = images.map((item) => ('untagged' in item ? `untagged: ${item.untagged}` : `deleted: ${item.deleted}`));
  block('Deleted Images:', words);
  printLine(`Total reclaimed space: ${humanSize(reclaimed)}`);
}
