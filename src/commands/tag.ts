// `kapsel tag`: a further name for an image.
import { defineCommand } from '../cli/command.ts';

export const tag = defineCommand({
  name: 'tag',
  summary: 'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  flags: {},
  arguments: [
    { name: 'SOURCE_IMAGE[:TAG]', required: true },
    { name: 'TARGET_IMAGE[:TAG]', required: true },
  ],
  examples: [{ command: 'tag debian:12 127.0.0.1:5000/debian:12', description: 'As `push` wants it named' }],
  async run({ args: [source = '', target = ''] }, context) {
    const engine = await context.engine();
    engine.images.tag(source, target);
  },
});
