// `kapsel create`: a container that `start` starts.
import { defineCommand } from '../cli/command.ts';
import { printLine } from '../ui/output.ts';
import { openCidFile } from './cidfile.ts';
import { containerFlags, createOptions, warn } from './container-flags.ts';
import { pulling } from './pulling.ts';

export const create = defineCommand({
  name: 'create',
  summary: 'Create a new container',
  flags: containerFlags,
  arguments: [{ name: 'IMAGE', required: true }, { name: 'COMMAND' }, { name: 'ARG', multiple: true }],
  flagsEndAtFirstArgument: true,
  examples: [{ command: 'create --name db -v data:/var/lib/db postgres', description: 'To be started later' }],
  async run({ flags, args: [image = '', ...command] }, context) {
    const options = { ...createOptions(flags, command), onWarning: warn };
    const { containers } = await context.engine();
    const cidFile = openCidFile(flags.cidfile);
    try {
      const container = await pulling(`Pulling ${image}`, flags.quiet, (progress) =>
        containers.create(image, { ...options, ...progress }),
      );
      cidFile.write(container.id);
      printLine(container.id);
    } finally {
      cidFile.close();
    }
  },
});
