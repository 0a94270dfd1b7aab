// `kapsel rmi`: names of images, and the images with their last name.
import { defineCommand } from '../cli/command.ts';
import { yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { each } from './each.ts';

export const rmi = defineCommand({
  name: 'rmi',
  summary: 'Remove one or more images',
  flags: { force: { value: yes, short: 'f', description: 'Force removal of the image' } },
  arguments: [{ name: 'IMAGE', required: true, multiple: true }],
  examples: [{ command: 'rmi debian:12', description: 'Its layers go when no other image has them' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      for (const item of await engine.images.remove(name, { force: flags.force })) {
        printLine('untagged' in item ? `Untagged: ${item.untagged}` : `Deleted: ${item.deleted}`);
      }
    });
  },
});
