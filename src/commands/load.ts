// `kapsel load`: every image of a `docker save` or OCI archive.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { isTerminal } from '../ui/terminal.ts';
import { pulling } from './pulling.ts';

export const load = defineCommand({
  name: 'load',
  summary: 'Load an image from a tar archive or STDIN',
  flags: {
    input: { value: text, short: 'i', description: 'Read from tar archive file, instead of STDIN' },
    platform: { value: text, description: 'Load only the given platform variant (os/arch[/variant])' },
    quiet: { value: yes, short: 'q', description: 'Suppress the load output' },
  },
  arguments: [],
  examples: [{ command: 'load -i debian.tar', description: 'As `docker save` or `skopeo copy` wrote it' }],
  async run({ flags }, context) {
    if (flags.input === undefined && isTerminal(0)) {
      throw new Failure('requested load from stdin, but stdin is empty: give -i FILE, or pipe an archive in');
    }
    const engine = await context.engine();
    const loaded = await pulling(`Loading ${flags.input ?? 'standard input'}`, flags.quiet, (progress) =>
      engine.images.load(flags.input ?? process.stdin, { ...progress, platform: flags.platform }),
    );
    for (const { id, references } of loaded) {
      for (const reference of references) printLine(`Loaded image: ${reference}`);
      if (references.length === 0) printLine(`Loaded image ID: ${id}`);
    }
  },
});
