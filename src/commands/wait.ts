// `kapsel wait`: blocks until each container has ended.
import { defineCommand } from '../cli/command.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';

export const wait = defineCommand({
  name: 'wait',
  summary: 'Block until one or more containers stop, then print their exit codes',
  flags: {},
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'wait web', description: 'Prints 0 when it has ended well' }],
  async run({ args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      const container = await engine.containers.get(name);
      const { exitCode } = await container.wait();
      printLine(String(exitCode));
    });
  },
});
