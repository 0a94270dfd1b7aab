// `kapsel stop`: the stop signal, and SIGKILL when that does not help.
import { defineCommand } from '../cli/command.ts';
import { integer, text } from '../cli/values/basic.ts';
import type { StopOptions } from '../engine/containers/options.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';

export const stopFlags = {
  signal: { value: text, short: 's', description: 'Signal to send to the container' },
  timeout: {
    value: integer,
    short: 't',
    alias: 'time',
    description: 'Seconds to wait before killing the container',
  },
};

export function stopOptions(flags: { signal: string | undefined; timeout: number | undefined }): StopOptions {
  return {
    ...(flags.signal !== undefined && { signal: flags.signal }),
    ...(flags.timeout !== undefined && { timeout: flags.timeout }),
  };
}

export const stop = defineCommand({
  name: 'stop',
  summary: 'Stop one or more running containers',
  flags: stopFlags,
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'stop -t 3 web', description: 'SIGTERM, and SIGKILL three seconds later' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    // All at once: ten containers that take ten seconds each take ten seconds.
    const stopping = new Map(
      args.map((name) => [name, engine.containers.get(name).then((found) => found.stop(stopOptions(flags)))]),
    );
    for (const promise of stopping.values()) promise.catch(() => {});
    return each(args, async (name) => {
      await stopping.get(name);
      printLine(name);
    });
  },
});
