// `kapsel ps`: the containers of this engine.
import { defineCommand } from '../cli/command.ts';
import { integer, text, yes } from '../cli/values/basic.ts';
import { filter, filters } from '../cli/values/filter.ts';
import type { ContainerSummary } from '../engine/containers/options.ts';
import { printListing } from './listing.ts';
import { printLine } from '../ui/output.ts';
import { quote } from '../ui/plain.ts';
import { ago, ellipsis, humanDuration, longTime } from '../ui/units.ts';

const columns = [
  { field: 'ID', header: 'CONTAINER ID' },
  { field: 'Image', header: 'IMAGE' },
  { field: 'Command', header: 'COMMAND' },
  { field: 'RunningFor', header: 'CREATED' },
  { field: 'Status', header: 'STATUS' },
  { field: 'Ports', header: 'PORTS' },
  { field: 'Names', header: 'NAMES' },
] as const;

const headers = {
  CreatedAt: 'CREATED AT',
  Labels: 'LABELS',
  Mounts: 'MOUNTS',
  Networks: 'NETWORKS',
  State: 'STATE',
  Size: 'SIZE',
};

/** What `-f` knows. */
const known = 'id name label status ancestor exited volume network publish expose'.split(' ');

export const ps = defineCommand({
  name: 'ps',
  summary: 'List containers',
  flags: {
    all: { value: yes, short: 'a', description: 'Show all containers (default shows just running)' },
    filter: { value: filter, short: 'f', multiple: true, description: 'Filter output based on conditions provided' },
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    last: { value: integer, short: 'n', description: 'Show n last created containers (includes all states)' },
    latest: { value: yes, short: 'l', description: 'Show the latest created container (includes all states)' },
    'no-trunc': { value: yes, description: "Don't truncate output" },
    quiet: { value: yes, short: 'q', description: 'Only display container IDs' },
  },
  arguments: [],
  examples: [
    { command: 'ps -a', description: 'Those that have ended, too' },
    { command: "ps -f status=exited --format '{{.Names}}: {{.Status}}'", description: 'In your own words' },
  ],
  async run({ flags }, context) {
    const { containers, networks } = await context.engine();
    // What somebody has flushed out of the packet filter comes back meanwhile.
    const repaired = networks.repair().catch(() => false);
    const asked = filters(flags.filter, known);
    const last = flags.latest ? 1 : flags.last;
    const found = await containers.list({
      // A state asked for by name is shown whether or not it is a running one.
      all: flags.all === true || 'status' in asked || 'exited' in asked,
      filters: asked,
      ...(last !== undefined && last > 0 && { last, all: true }),
    });
    await repaired;
    const full = flags['no-trunc'] ?? false;
    if (flags.quiet) {
      for (const { id } of found) printLine(full ? id : id.slice(0, 12));
      return;
    }
    printListing({ columns, headers, rows: found.map((container) => row(container, full)), format: flags.format });
  },
});

/** The fields Docker gives to templates. */
export function row(container: ContainerSummary, full: boolean, now = Date.now()) {
  const words = container.command.join(' ');
  const command = quote(full ? words : ellipsis(words, 20));
  const { labels } = container;
  return {
    ID: full ? container.id : container.id.slice(0, 12),
    Image: container.image,
    Command: command,
    CreatedAt: longTime(container.createdAt),
    RunningFor: ago(container.createdAt, now),
    Status: status(container, now),
    State: container.status === 'starting' ? 'created' : container.status,
    Ports: ports(container),
    Names: container.name,
    Labels: Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(','),
    Label: (name: string) => labels[name] ?? '',
    Mounts: container.mounts.map((mount) => (full ? mount : ellipsis(mount, 15))).join(','),
    Networks: container.networks.join(','),
  };
}

/** `0.0.0.0:8080->80/tcp, 443/tcp`: what is published, then what is only exposed. */
function ports({ ports, exposedPorts, status }: ContainerSummary): string {
  const host = (address: string) => (address.includes(':') ? `[${address}]` : address);
  const published = ports.map(
    ({ protocol, address, port, containerPort }) => `${host(address)}:${port}->${containerPort}/${protocol}`,
  );
  const isPublished = (exposed: string) =>
    ports.some(({ containerPort, protocol }) => exposed === `${containerPort}/${protocol}`);
  const lives = status === 'running' || status === 'paused';
  return [...published, ...(lives ? exposedPorts.filter((port) => !isPublished(port)) : [])].join(', ');
}

function status({ status, startedAt, finishedAt, exitCode }: ContainerSummary, now: number): string {
  const since = (time: string | undefined) => humanDuration(now - Date.parse(time ?? ''));
  switch (status) {
    case 'created':
    case 'starting':
      return 'Created';
    case 'running':
      return `Up ${since(startedAt)}`;
    case 'paused':
      return `Up ${since(startedAt)} (Paused)`;
    case 'exited':
      return `Exited (${exitCode ?? 0}) ${since(finishedAt)} ago`;
  }
}
