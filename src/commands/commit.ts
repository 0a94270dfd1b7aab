// `kapsel commit`: what a container has changed, as an image.
import { defineCommand } from '../cli/command.ts';
import { item, text, yes } from '../cli/values/basic.ts';
import { sourceDateEpoch } from '../cli/values/time.ts';
import { printLine } from '../ui/output.ts';
import { pulling } from './pulling.ts';

export const commit = defineCommand({
  name: 'commit',
  summary: "Create a new image from a container's changes",
  flags: {
    author: { value: text, short: 'a', description: 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")' },
    change: {
      value: item,
      short: 'c',
      multiple: true,
      description: 'Apply Dockerfile instruction to the created image',
    },
    message: { value: text, short: 'm', description: 'Commit message' },
    pause: { value: yes, short: 'p', description: 'Pause container during commit (default true)' },
  },
  arguments: [{ name: 'CONTAINER', required: true }, { name: 'REPOSITORY[:TAG]' }],
  examples: [{ command: `commit -c 'CMD ["sh"]' web web:mine`, description: 'With another program to start' }],
  async run({ flags, args: [name = '', reference] }, context) {
    const engine = await context.engine();
    const container = await engine.containers.get(name);
    const { author, change: changes, message, pause } = flags;
    const id = await pulling(`Committing ${name}`, true, ({ signal }) =>
      container.commit({ reference, author, message, changes, pause, sourceDateEpoch: sourceDateEpoch(), signal }),
    );
    printLine(id);
  },
});
