// Lines of `ps`: rows as summaries, and Docker's filters over them. Pure.

import type { ContainerRow, PortRow } from '../../native.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { ContainerSummary, ListOptions } from './options.ts';
import type { Settings } from './settings.ts';

/** What is asked of one container's rows. */
interface Look {
  /** Those that lead to it. */
  ports: (id: string) => PortRow[];
  /** Names of those that it is on. */
  networks: (id: string) => string[];
}

export function summaries(rows: readonly ContainerRow[], look: Look, options: ListOptions = {}): ContainerSummary[] {
  const filters = Object.entries(options.filters ?? {});
  for (const [name] of filters) {
    if (!(name in matches)) {
      throw new InvalidArgumentError(
        'FILTER_INVALID',
        `invalid filter '${name}': known are ${Object.keys(matches).join(', ')}`,
        {
          exitCode: 1,
        },
      );
    }
  }
  const everything =
    options.all || options.last !== undefined || filters.some(([name]) => name === 'status' || name === 'exited');
  const found = rows
    .filter((row) => everything || row.status === 'running' || row.status === 'paused' || row.status === 'starting')
    .map((row) => summary(row, look))
    .filter((container) => filters.every(([name, values]) => holds(name, values, container)));
  return options.last === undefined || options.last < 0 ? found : found.slice(0, options.last);
}

function summary(row: ContainerRow, { ports, networks }: Look): ContainerSummary {
  const settings = row.document as Settings;
  const lives = row.status === 'running' || row.status === 'paused' || row.status === 'starting';
  return {
    id: row.id,
    name: row.name,
    image: row.image,
    imageId: row.imageId,
    command: [...settings.entrypoint, ...settings.command],
    createdAt: row.createdAt,
    ...(row.startedAt === null ? {} : { startedAt: row.startedAt }),
    ...(row.finishedAt === null ? {} : { finishedAt: row.finishedAt }),
    status: row.status,
    ...(row.exitCode === null || lives ? {} : { exitCode: row.exitCode }),
    ...(row.pid === null ? {} : { pid: row.pid }),
    labels: row.labels,
    mounts: settings.mounts.flatMap((mount) => (mount.type === 'tmpfs' ? [] : [mount.source])),
    networks: settings.network === 'bridge' ? networks(row.id) : [settings.network],
    ports: settings.network === 'bridge' && lives ? ports(row.id) : [],
    exposedPorts: settings.exposedPorts,
  };
}

/** Of several values of one filter one must hold; labels must hold all. */
function holds(name: string, values: readonly string[], container: ContainerSummary): boolean {
  const match = matches[name]!;
  return name === 'label'
    ? values.every((value) => match(container, value))
    : values.some((value) => match(container, value));
}

const matches: Record<string, (container: ContainerSummary, value: string) => boolean> = {
  id: ({ id }, value) => id.startsWith(value),
  // Docker's is a regular expression too; a name that is none is looked for as it is.
  name: ({ name }, value) => pattern(value).test(name) || pattern(value).test(`/${name}`),
  label: ({ labels }, value) => {
    const equals = value.indexOf('=');
    return equals < 0 ? value in labels : labels[value.slice(0, equals)] === value.slice(equals + 1);
  },
  status: ({ status }, value) => (status === 'starting' ? 'running' : status) === value,
  ancestor: ({ image, imageId }, value) =>
    image === value ||
    image === `${value}:latest` ||
    imageId === value ||
    imageId.replace(/^sha256:/, '').startsWith(value),
  exited: ({ status, exitCode }, value) => status === 'exited' && exitCode === Number(value),
  volume: ({ mounts }, value) => mounts.includes(value),
  network: ({ networks }, value) => networks.includes(value),
  publish: ({ ports }, value) => ports.some(({ port, protocol }) => [`${port}`, `${port}/${protocol}`].includes(value)),
  expose: ({ exposedPorts }, value) => exposedPorts.some((port) => port === value || port === `${value}/tcp`),
};

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    return new RegExp(text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
  }
}
