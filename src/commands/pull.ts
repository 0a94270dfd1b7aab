// `kapsel pull`: an image from a registry.
import { defineCommand } from '../cli/command.ts';
import { text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { pulling } from './pulling.ts';

export const pull = defineCommand({
  name: 'pull',
  summary: 'Download an image from a registry',
  flags: {
    platform: { value: text, description: 'Set platform if the image has several (os/arch[/variant])' },
    quiet: { value: yes, short: 'q', description: 'Suppress verbose output' },
  },
  arguments: [{ name: 'NAME[:TAG|@DIGEST]', required: true }],
  examples: [{ command: 'pull 127.0.0.1:5000/debian:12', description: 'From a registry of your own' }],
  async run({ flags, args: [name = ''] }, context) {
    const engine = await context.engine();
    const result = await pulling(`Pulling ${name}`, flags.quiet, (progress) =>
      engine.images.pull(name, { ...progress, platform: flags.platform }),
    );
    if (!flags.quiet) {
      if (result.digest !== undefined) printLine(`Digest: ${result.digest}`);
      printLine(
        result.changed
          ? `Status: Downloaded newer image for ${result.reference}`
          : `Status: Image is up to date for ${result.reference}`,
      );
    }
    printLine(result.reference);
  },
});
