// `kapsel unpause`: the processes of each paused container go on.
import { defineCommand } from '../cli/command.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';

export const unpause = defineCommand({
  name: 'unpause',
  summary: 'Unpause all processes within one or more containers',
  flags: {},
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'unpause web', description: 'Its processes go on' }],
  async run({ args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      const container = await engine.containers.get(name);
      await container.unpause();
      printLine(name);
    });
  },
});
