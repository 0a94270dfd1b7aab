// `kapsel pull`: an image from a registry.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { pulling } from './pulling.ts';
import { accessOf, registryFlags } from './registry-flags.ts';

export const pull = defineCommand({
  name: 'pull',
  summary: 'Download an image from a registry',
  flags: {
    ...registryFlags,
    'all-tags': { value: yes, short: 'a', description: 'Download all tagged images in the repository' },
    platform: { value: text, description: 'Set platform if the image has several (os/arch[/variant])' },
    quiet: { value: yes, short: 'q', description: 'Suppress verbose output' },
  },
  arguments: [{ name: 'NAME[:TAG|@DIGEST]', required: true }],
  examples: [{ command: 'pull 127.0.0.1:5000/debian:12', description: 'From a registry of your own' }],
  async run({ flags, args: [name = ''] }, context) {
    keepSmall();
    const engine = await context.engine();
    const all = flags['all-tags'] ?? false;
    if (all && /[:@][^/]*$/.test(name)) throw new Failure("tag can't be used with --all-tags/-a");
    const names = all
      ? await pulling(`Asking for the tags of ${name}`, true, ({ signal }) =>
          engine.images.tagsInRegistry(name, { ...accessOf(flags), signal }),
        )
      : [name];
    for (const one of names) {
      const result = await pulling(`Pulling ${one}`, flags.quiet, (progress) =>
        engine.images.pull(one, { ...progress, ...accessOf(flags), platform: flags.platform }),
      );
      if (!flags.quiet) {
        if (result.digest !== undefined) printLine(`Digest: ${result.digest}`);
        const status = result.changed ? 'Downloaded newer image' : 'Image is up to date';
        printLine(`Status: ${status} for ${result.reference}`);
      }
      printLine(result.reference);
    }
  },
});

/**
 * The process is this command's own, and layers pass through it: V8 would let ten megabytes of garbage pile up for them. At
 * once: when it is known that something has to be fetched, it is too late.
 */
function keepSmall(): void {
  process.getBuiltinModule('node:v8').setFlagsFromString('--semi-space-growth-factor=1');
}
