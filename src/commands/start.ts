// `kapsel start`: containers that were created or have ended.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { follow } from '../cli/session.ts';
import { yes } from '../cli/values/basic.ts';
import { detachKeys } from '../cli/values/detach-keys.ts';
import { printLine } from '../ui/output.ts';
import { Terminal } from '../ui/terminal.ts';
import { stdio } from './attachment.ts';
import { each } from './each.ts';

export const start = defineCommand({
  name: 'start',
  summary: 'Start one or more stopped containers',
  flags: {
    attach: { value: yes, short: 'a', description: 'Attach STDOUT/STDERR and forward signals' },
    'detach-keys': { value: detachKeys, description: 'Override the key sequence for detaching a container' },
    interactive: { value: yes, short: 'i', description: "Attach container's STDIN" },
  },
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'start -ai db', description: 'In the foreground' }],
  async run({ flags, args }, context) {
    const { containers } = await context.engine();
    if (!flags.attach && !flags.interactive) {
      return each(args, async (name) => {
        const container = await containers.get(name);
        await container.start();
        printLine(name);
      });
    }
    if (args.length > 1) throw new Failure('you cannot start and attach multiple containers at once');
    const container = await containers.get(args[0]!);
    const { Config } = await container.inspect();
    const { Tty = false, OpenStdin = false } = Config as { Tty?: boolean; OpenStdin?: boolean };
    const streams = stdio({
      interactive: OpenStdin && flags.interactive === true,
      tty: Tty,
      detachKeys: flags['detach-keys'],
    });
    const terminal = Tty ? new Terminal() : undefined;
    const session = await container.startAttached(streams);
    return follow(session, { terminal, interactive: streams.stdin !== undefined, sigProxy: true });
  },
});
