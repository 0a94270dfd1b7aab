// `kapsel pause`: the processes of each container stand still.
import { defineCommand } from '../cli/command.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';

export const pause = defineCommand({
  name: 'pause',
  summary: 'Pause all processes within one or more containers',
  flags: {},
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'pause web', description: 'Its processes stand still until `unpause`' }],
  async run({ args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      const container = await engine.containers.get(name);
      await container.pause();
      printLine(name);
    });
  },
});
