// `kapsel push`: an image to the registry that its name says.
import { writeFileSync } from 'node:fs';
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { compressionFormat, manifestFormat } from './copy.ts';
import { pulling } from './pulling.ts';
import { accessOf, registryFlags } from './registry-flags.ts';

export const push = defineCommand({
  name: 'push',
  summary: 'Upload an image to a registry',
  flags: {
    ...registryFlags,
    'all-tags': { value: yes, short: 'a', description: 'Push all tags of an image to the repository' },
    'compression-format': { value: compressionFormat, description: 'How layers are packed: gzip or zstd' },
    digestfile: { value: text, description: 'Write the digest of what was pushed to this file' },
    format: { value: manifestFormat, description: 'Media types of the manifest: oci or docker' },
    quiet: { value: yes, short: 'q', description: 'Suppress verbose output' },
  },
  arguments: [{ name: 'NAME[:TAG]', required: true }],
  examples: [{ command: 'push 127.0.0.1:5000/app:1', description: 'After `tag app:1 127.0.0.1:5000/app:1`' }],
  async run({ flags, args: [name = ''] }, context) {
    const engine = await context.engine();
    const { 'all-tags': all, 'compression-format': compression, format, quiet } = flags;
    if (all && /:[^/]*$/.test(name)) throw new Failure("tag can't be used with --all-tags/-a");
    const names = all ? engine.images.tagsOf(name) : [name];
    if (names.length === 0) throw new Failure(`An image does not exist locally with the tag: ${name}`);
    for (const one of names) {
      const pushed = await pulling(`Pushing ${one}`, quiet, (progress) =>
        engine.images.push(one, { ...progress, ...accessOf(flags), compression, format }),
      );
      const { reference, digest, size } = pushed;
      if (flags.digestfile !== undefined) writeFileSync(flags.digestfile, digest);
      const tag = reference.slice(reference.lastIndexOf(':') + 1);
      printLine(quiet ? reference : `${tag}: digest: ${digest} size: ${size}`);
    }
  },
});
