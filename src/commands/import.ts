// `kapsel import`: a root file system's tar as an image of one layer.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { item, text } from '../cli/values/basic.ts';
import { sourceDateEpoch } from '../cli/values/time.ts';
import { printLine } from '../ui/output.ts';
import { pulling } from './pulling.ts';

export const importCommand = defineCommand({
  name: 'import',
  summary: 'Import the contents from a tarball to create a filesystem image',
  flags: {
    change: {
      value: item,
      short: 'c',
      multiple: true,
      description: 'Apply Dockerfile instruction to the created image',
    },
    message: { value: text, short: 'm', description: 'Set commit message for imported image' },
    platform: { value: text, description: 'Set platform of the image (os/arch[/variant])' },
  },
  arguments: [{ name: 'file|-', required: true }, { name: 'REPOSITORY[:TAG]' }],
  examples: [{ command: `import -c 'CMD ["bash"]' root.tar debian:mine`, description: 'With a program to start' }],
  async run({ flags, args: [file = '', reference] }, context) {
    if (/^https?:\/\//.test(file)) {
      throw new Failure(`cannot import ${file}: fetch it first and pipe it in: curl -fsSL ${file} | kapsel import -`);
    }
    const engine = await context.engine();
    const id = await pulling(`Importing ${file}`, true, ({ signal }) =>
      engine.images.import(file === '-' ? process.stdin : file, {
        reference,
        changes: flags.change,
        message: flags.message,
        platform: flags.platform,
        sourceDateEpoch: sourceDateEpoch(),
        signal,
      }),
    );
    printLine(id);
  },
});
