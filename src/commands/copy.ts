// `kapsel copy`: an image from any transport to any other, as skopeo's.
import { writeFileSync } from 'node:fs';
import { defineCommand } from '../cli/command.ts';
import { oneOf, text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { pulling } from './pulling.ts';
import { accessOf, registryFlags } from './registry-flags.ts';

export const manifestFormat = oneOf(['oci', 'docker'], (given) => `unknown format ${given}: known are oci, docker`);
export const compressionFormat = oneOf(
  ['none', 'gzip', 'zstd'],
  (given) => `unknown compression ${given}: known are none, gzip, zstd`,
);

export const copy = defineCommand({
  name: 'copy',
  summary: 'Copy an image between registries, archives, directories and the store',
  description: `An image is named by a transport: docker://NAME[:TAG|@DIGEST], oci:PATH[:NAME], oci-archive:PATH[:NAME],
docker-archive:PATH[:NAME], dir:PATH, host:[PROGRAM,…], and without one, or with kapsel:, an image of the store.`,
  flags: {
    ...registryFlags,
    all: { value: yes, short: 'a', description: 'Copy all platforms of the image, byte for byte' },
    'compression-format': {
      value: compressionFormat,
      alias: 'dest-compress-format',
      description: 'How layers are packed that have to be: none, gzip or zstd',
    },
    'dest-tls-verify': { value: yes, description: 'Require HTTPS and a known certificate of the destination' },
    digestfile: { value: text, description: 'Write the digest of the copy to this file' },
    format: { value: manifestFormat, short: 'f', description: 'Media types of the manifest: oci or docker' },
    platform: { value: text, description: 'Which platform of several (os/arch[/variant])' },
    'src-tls-verify': { value: yes, description: 'Require HTTPS and a known certificate of the source' },
    quiet: { value: yes, short: 'q', description: 'Suppress verbose output' },
  },
  arguments: [
    { name: 'SOURCE', required: true },
    { name: 'DESTINATION', required: true },
  ],
  examples: [
    {
      command: 'copy --all docker://debian:12 docker://127.0.0.1:5000/debian:12',
      description: 'A mirror, digest and all',
    },
    { command: 'copy debian:12 oci:layout:12', description: 'Out of the store' },
  ],
  async run({ flags, args: [from = '', to = ''] }, context) {
    const engine = await context.engine();
    const { all, 'compression-format': compression, format, platform, quiet } = flags;
    const digest = await pulling(`Copying ${from} to ${to}`, quiet, (progress) =>
      engine.images.copy(from, to, {
        ...progress,
        ...accessOf(flags),
        all,
        compression,
        destinationAccess: accessOf({ ...flags, 'tls-verify': flags['dest-tls-verify'] ?? flags['tls-verify'] }),
        format,
        platform,
        sourceAccess: accessOf({ ...flags, 'tls-verify': flags['src-tls-verify'] ?? flags['tls-verify'] }),
      }),
    );
    if (flags.digestfile !== undefined) writeFileSync(flags.digestfile, digest);
    if (!quiet) printLine(digest);
  },
});
