// `kapsel rm`: containers, and what was theirs alone.
import { defineCommand } from '../cli/command.ts';
import { describe } from '../cli/failure.ts';
import { yes } from '../cli/values/basic.ts';
import { NotFoundError } from '../engine/errors.ts';
import { printLine, say } from '../ui/output.ts';
import { each } from './each.ts';

export const rm = defineCommand({
  name: 'rm',
  summary: 'Remove one or more containers',
  flags: {
    force: { value: yes, short: 'f', description: 'Force the removal of a running container (uses SIGKILL)' },
    volumes: { value: yes, short: 'v', description: 'Remove anonymous volumes associated with the container' },
  },
  arguments: [{ name: 'CONTAINER', required: true, multiple: true }],
  examples: [{ command: 'rm -f $(kapsel ps -aq)', description: 'All of them' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      const container = await engine.containers.get(name).catch((error: unknown) => {
        // With -f the wish is that there be none, and there is none: said, but no failure (Docker since 20.10).
        if (!flags.force || !(error instanceof NotFoundError)) throw error;
        say(`kapsel: ${describe(error)}`);
        return undefined;
      });
      if (!container) return;
      await container.remove({ force: flags.force ?? false, volumes: flags.volumes ?? false });
      printLine(name);
    });
  },
});
