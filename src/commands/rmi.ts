// `kapsel rmi`: names of images, and the images with their last name.
import { defineCommand } from '../cli/command.ts';
import { describe } from '../cli/failure.ts';
import { yes } from '../cli/values/basic.ts';
import { NotFoundError } from '../engine/errors.ts';
import { printLine, say } from '../ui/output.ts';
import { each } from './each.ts';

export const rmi = defineCommand({
  name: 'rmi',
  summary: 'Remove one or more images',
  flags: {
    force: { value: yes, short: 'f', description: 'Force removal of the image' },
    'no-prune': { value: yes, description: 'Do not delete untagged parents' },
  },
  arguments: [{ name: 'IMAGE', required: true, multiple: true }],
  examples: [{ command: 'rmi debian:12', description: 'Its layers go when no other image has them' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    const { force, 'no-prune': noPrune } = flags;
    return each(args, async (name) => {
      const removed = await engine.images.remove(name, { force, noPrune }).catch((error: unknown) => {
        // With -f the wish is that there be none, and there is none: said, but no failure, as Docker's.
        if (!force || !(error instanceof NotFoundError)) throw error;
        say(`kapsel: ${describe(error)}`);
        return [];
      });
      for (const item of removed) {
        printLine('untagged' in item ? `Untagged: ${item.untagged}` : `Deleted: ${item.deleted}`);
      }
    });
  },
});
