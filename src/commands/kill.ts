// `kapsel kill`: a signal to the first program of each container.
import { defineCommand } from '../cli/command.ts';
import { text } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';

export const kill = defineCommand({
  name: 'kill',
  summary: 'Kill one or more running containers',
  flags: { signal: { value: text, short: 's', description: 'Signal to send to the container (default SIGKILL)' } },
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'kill -s HUP web', description: 'Any signal, by name or number' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      const container = await engine.containers.get(name);
      await container.kill(flags.signal ?? 'SIGKILL');
      printLine(name);
    });
  },
});
