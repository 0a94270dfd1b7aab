// `kapsel save`: images as one archive, or a directory.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { oneOf, text, yes } from '../cli/values/basic.ts';
import { isTerminal } from '../ui/terminal.ts';
import { pulling } from './pulling.ts';

const formats = ['docker-archive', 'oci-archive', 'oci-dir', 'docker-dir'] as const;

export const save = defineCommand({
  name: 'save',
  summary: 'Save one or more images to a tar archive (streamed to STDOUT by default)',
  flags: {
    format: {
      value: oneOf(formats, (given) => `unknown format ${given}: known are ${formats.join(', ')}`),
      description: `What to write: ${formats.join(', ')}`,
    },
    output: { value: text, short: 'o', description: 'Write to a file, instead of STDOUT' },
    quiet: { value: yes, short: 'q', description: 'Suppress the output' },
  },
  arguments: [{ name: 'IMAGE', required: true, multiple: true }],
  examples: [{ command: 'save -o both.tar debian:12 app:1', description: 'Layers that both have are there once' }],
  async run({ flags, args }, context) {
    const { format, output } = flags;
    if (output === undefined && format?.endsWith('-dir'))
      throw new Failure(`${format} is a directory: give -o DIRECTORY`);
    if (output === undefined && isTerminal(1)) {
      throw new Failure('cowardly refusing to save to a terminal. Use the -o flag or redirect');
    }
    const engine = await context.engine();
    // Standard output may be somebody's who reads slowly: progress would only be in the way of it.
    await pulling(`Saving ${args.join(' ')}`, flags.quiet ?? output === undefined, (progress) =>
      engine.images.save(args, output ?? 1, { ...progress, format }),
    );
  },
});
