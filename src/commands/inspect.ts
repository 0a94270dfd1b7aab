// `kapsel inspect`: all that is known about containers, images, volumes and networks, as a JSON array.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { oneOf, text } from '../cli/values/basic.ts';
import type { Engine } from '../engine/engine.ts';
import { NotFoundError } from '../engine/errors.ts';
import { inspection } from '../engine/networks/inspection.ts';
import { renderFormat } from './listing.ts';
import { print, printLine } from '../ui/output.ts';
import { plainJson } from '../ui/plain.ts';
import { each } from './each.ts';

const kinds = ['container', 'image', 'volume', 'network'] as const;
type Kind = (typeof kinds)[number];

export const inspect = defineCommand({
  name: 'inspect',
  summary: 'Return low-level information on objects',
  flags: {
    format: { value: text, short: 'f', description: "Format output: 'json' or a Go template" },
    type: {
      value: oneOf(kinds, (given) => `unknown type: ${JSON.stringify(given)}: must be one of ${kinds.join(', ')}`),
      description: 'Only inspect objects of the given type',
    },
  },
  arguments: [{ name: 'NAME|ID', required: true, multiple: true }],
  examples: [
    { command: "inspect -f '{{.State.Pid}}' web", description: 'One field' },
    { command: 'inspect --type image debian:12', description: 'The image, where a container has the same name' },
  ],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    const wanted = flags.type === undefined ? kinds : [flags.type];
    const found: unknown[] = [];
    const code = await each(args, async (name) => {
      found.push(await find(engine, name, wanted));
    });
    if (flags.format === undefined) printLine(plainJson(found, 4));
    else if (flags.format === 'json') for (const object of found) printLine(plainJson(object));
    else for (const object of found) print(`${renderFormat(flags.format, object)}\n`);
    return code;
  },
});

async function find(engine: Engine, name: string, wanted: readonly Kind[]): Promise<unknown> {
  const look: Record<Kind, () => Promise<unknown>> = {
    container: async () => (await engine.containers.get(name)).inspect(),
    image: async () => engine.images.inspect(name),
    volume: async () => {
      const volume = await engine.volumes.inspect(name);
      return {
        CreatedAt: volume.createdAt,
        Driver: 'local',
        Labels: volume.labels,
        Mountpoint: volume.mountpoint,
        Name: volume.name,
        Options: null,
        Scope: 'local',
      };
    },
    network: async () => inspection(await engine.networks.inspect(name)),
  };
  for (const kind of wanted) {
    try {
      return await look[kind]();
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
      if (wanted.length === 1) throw error;
    }
  }
  throw new Failure(`No such object: ${name}`);
}
