// `kapsel stats`: what containers use, as Docker shows it.
import { setTimeout } from 'node:timers/promises';
import { defineCommand } from '../cli/command.ts';
import { text, yes } from '../cli/values/basic.ts';
import type { Container, ContainerStats } from '../engine/containers/container.ts';
import type { Engine } from '../engine/engine.ts';
import { print } from '../ui/output.ts';
import { binarySize, humanSize } from '../ui/units.ts';
import { printListing } from './listing.ts';

const columns = [
  { field: 'ID', header: 'CONTAINER ID' },
  { field: 'Name', header: 'NAME' },
  { field: 'CPUPerc', header: 'CPU %' },
  { field: 'MemUsage', header: 'MEM USAGE / LIMIT' },
  { field: 'MemPerc', header: 'MEM %' },
  { field: 'NetIO', header: 'NET I/O' },
  { field: 'BlockIO', header: 'BLOCK I/O' },
  { field: 'PIDs', header: 'PIDS' },
] as const;

/** Between two looks, in milliseconds: what is used of the processors is what is between them. */
const interval = 1000;

export const stats = defineCommand({
  name: 'stats',
  summary: 'Display a live stream of container(s) resource usage statistics',
  flags: {
    all: { value: yes, short: 'a', description: 'Show all containers (default shows just running)' },
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    'no-stream': { value: yes, description: 'Disable streaming stats and only pull the first result' },
    'no-trunc': { value: yes, description: 'Do not truncate output' },
  },
  arguments: [{ name: 'CONTAINER', required: false, multiple: true }],
  examples: [
    { command: 'stats', description: 'All that run, every second, until Ctrl-C' },
    { command: "stats --no-stream --format '{{.Name}}: {{.MemUsage}}' web", description: 'Once, in your own words' },
  ],
  async run({ args, flags }, context) {
    const engine = await context.engine();
    const full = flags['no-trunc'] ?? false;
    let before = await look(engine, args, flags.all ?? false);
    for (;;) {
      await setTimeout(interval);
      const now = await look(engine, args, flags.all ?? false);
      const rows = [...now].map(([id, [container, used]]) => row(container, before.get(id)?.[1], used, full));
      // From the top left corner, over what was shown before, as Docker does.
      if (!flags['no-stream'] && process.stdout.isTTY) print('\x1b[2J\x1b[H');
      printListing({ columns, headers: { Container: 'CONTAINER' }, rows, format: flags.format });
      if (flags['no-stream']) return;
      before = now;
    }
  },
});

type Look = Map<string, [Container, ContainerStats | undefined]>;

/** At those named, which must be there, or at all. One that does not run uses nothing. */
async function look(engine: Engine, names: readonly string[], all: boolean): Promise<Look> {
  const found: Look = new Map();
  const wanted = names.length > 0 ? names : (await engine.containers.list({ all })).map(({ id }) => id);
  await Promise.all(
    wanted.map(async (name) => {
      const container = await engine.containers.get(name).catch((error: unknown) => {
        // One that was listed may be gone.
        if (names.length > 0) throw error;
      });
      if (container === undefined) return;
      // In the order of the list.
      found.set(container.id, [container, undefined]);
      found.set(container.id, [container, await container.stats().catch(unlessEnded)]);
    }),
  );
  return found;
}

/** It does not run, or has ended meanwhile. */
function unlessEnded(error: unknown): undefined {
  const { code } = error as { code?: string };
  if (!/^(CONTAINER_NOT_RUNNING|CONTAINER_NOT_FOUND|NOT_RUNNING|MONITOR_LOST)$/.test(code ?? '')) throw error;
}

/** The fields Docker gives to templates. */
function row(
  { id, name }: Container,
  before: ContainerStats | undefined,
  used: ContainerStats | undefined,
  full: boolean,
) {
  const named = { Container: full ? id : id.slice(0, 12), ID: full ? id : id.slice(0, 12), Name: name };
  if (used === undefined) {
    return { ...named, CPUPerc: '--', MemUsage: '-- / --', MemPerc: '--', NetIO: '--', BlockIO: '--', PIDs: '--' };
  }
  const { memory, blockIo, pids } = used;
  const interfaces = Object.values(used.networks);
  const sum = (field: 'rxBytes' | 'txBytes') => interfaces.reduce((all, each) => all + each[field], 0);
  return {
    ...named,
    CPUPerc: percent(before === undefined ? 0 : share(before, used)),
    MemUsage: `${binarySize(memory.usage)} / ${binarySize(memory.limit)}`,
    MemPerc: percent(memory.usage / memory.limit),
    NetIO: `${humanSize(sum('rxBytes'))} / ${humanSize(sum('txBytes'))}`,
    BlockIO: `${humanSize(blockIo.readBytes)} / ${humanSize(blockIo.writeBytes)}`,
    PIDs: String(pids.current),
  };
}

/** Of one processor: two that are wholly used are 2. */
function share(before: ContainerStats, now: ContainerStats): number {
  const nanoseconds = (Date.parse(now.readAt) - Date.parse(before.readAt)) * 1e6;
  // It has begun again meanwhile.
  return nanoseconds > 0 ? Math.max(0, now.cpu.usage - before.cpu.usage) / nanoseconds : 0;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(2)}%`;
}
