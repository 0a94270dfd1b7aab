// `kapsel restore`: a container goes on where its checkpoint left off.
import { existsSync } from 'node:fs';
import { defineCommand } from '../cli/command.ts';
import { text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { pulling } from './pulling.ts';

export const restore = defineCommand({
  name: 'restore',
  summary: 'Restore a container from a checkpoint',
  flags: {
    'file-locks': { value: yes, description: 'Restore a container with file locks' },
    keep: { value: yes, short: 'k', description: 'Keep the checkpoint, for another restore' },
    name: { value: text, short: 'n', description: 'Another name for the container, which gets another id too' },
    'tcp-established': { value: yes, description: 'Restore a container with established TCP connections' },
  },
  arguments: [{ name: 'FILE|CONTAINER', required: true }],
  examples: [
    { command: 'restore web.tar.zst', description: 'As `kapsel checkpoint --export` wrote it, here or elsewhere' },
    { command: 'restore web', description: 'After a `kapsel checkpoint` without --export' },
  ],
  async run({ flags, args: [from = ''] }, context) {
    const engine = await context.engine();
    const options = {
      tcpEstablished: flags['tcp-established'] ?? false,
      fileLocks: flags['file-locks'] ?? false,
      keep: flags.keep ?? false,
    };
    if (!from.includes('/') && !existsSync(from)) {
      const container = await engine.containers.get(from);
      await container.restore(options);
      printLine(from);
      return;
    }
    const container = await pulling(`Restoring ${from}`, true, ({ signal, onProgress }) =>
      engine.containers.restore(from, {
        ...options,
        ...(flags.name !== undefined && { name: flags.name }),
        signal,
        onProgress,
      }),
    );
    printLine(container.id);
  },
});
