// `kapsel restart`: stop and start.
import { defineCommand } from '../cli/command.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';
import { stopFlags, stopOptions } from './stop.ts';

export const restart = defineCommand({
  name: 'restart',
  summary: 'Restart one or more containers',
  flags: stopFlags,
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'restart web', description: 'Stop it as `stop` does, and start it again' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      const container = await engine.containers.get(name);
      await container.stop(stopOptions(flags));
      await container.start();
      printLine(name);
    });
  },
});
