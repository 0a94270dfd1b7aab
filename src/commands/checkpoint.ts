// `kapsel checkpoint`: a running container is written down, with its memory.
import { defineCommand } from '../cli/command.ts';
import { oneOf, text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';

const compression = oneOf(
  ['none', 'gzip', 'zstd'],
  (given) => `unknown compression ${JSON.stringify(given)}: known are none, gzip and zstd`,
);

export const checkpoint = defineCommand({
  name: 'checkpoint',
  summary: 'Write a running container to disk, with everything it has in memory',
  flags: {
    compress: { value: compression, short: 'c', description: 'Compression of the archive (zstd)' },
    export: { value: text, short: 'e', description: 'Export the checkpoint to an archive, for a restore elsewhere' },
    'file-locks': { value: yes, description: 'Checkpoint a container with file locks' },
    'ignore-rootfs': { value: yes, description: 'Leave changes of the root file system out of the archive' },
    'leave-running': { value: yes, short: 'R', description: 'Leave the container running' },
    'tcp-established': { value: yes, description: 'Checkpoint a container with established TCP connections' },
  },
  arguments: [{ name: 'CONTAINER', required: true }],
  examples: [{ command: 'checkpoint --export web.tar.zst web', description: 'For `kapsel restore web.tar.zst`' }],
  async run({ flags, args: [name = ''] }, context) {
    const engine = await context.engine();
    const container = await engine.containers.get(name);
    await container.checkpoint({
      ...(flags.export !== undefined && { export: flags.export }),
      ...(flags.compress !== undefined && { compress: flags.compress }),
      leaveRunning: flags['leave-running'] ?? false,
      tcpEstablished: flags['tcp-established'] ?? false,
      fileLocks: flags['file-locks'] ?? false,
      ignoreRootfs: flags['ignore-rootfs'] ?? false,
    });
    printLine(name);
  },
});
