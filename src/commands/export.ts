// `kapsel export`: a container's whole tree as a tar.
import { statSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { defineCommand } from '../cli/command.ts';
import { Failure, messageOf } from '../cli/failure.ts';
import { text } from '../cli/values/basic.ts';
import { sourceDateEpoch } from '../cli/values/time.ts';
import { writeAll } from '../ui/output.ts';
import { isTerminal } from '../ui/terminal.ts';
import { pulling } from './pulling.ts';

export const exportCommand = defineCommand({
  name: 'export',
  summary: "Export a container's filesystem as a tar archive",
  flags: { output: { value: text, short: 'o', description: 'Write to a file, instead of STDOUT' } },
  arguments: [{ name: 'CONTAINER', required: true }],
  examples: [{ command: 'export -o root.tar web', description: 'What `import` takes' }],
  async run({ flags: { output }, args: [name = ''] }, context) {
    if (output === undefined && isTerminal(1)) {
      throw new Failure('cowardly refusing to save to a terminal. Use the -o flag or redirect');
    }
    const engine = await context.engine();
    const container = await engine.containers.get(name);
    await pulling(`Exporting ${name}`, true, ({ signal }) =>
      container.export(
        async (tar) => {
          const target = await open(output);
          try {
            for await (const piece of tar) writeAll(target.descriptor, piece);
            await target.keep();
          } finally {
            await target.close();
          }
        },
        { sourceDateEpoch: sourceDateEpoch(), signal },
      ),
    );
  },
});

interface Target {
  descriptor: number;
  keep(): Promise<void>;
  close(): Promise<void>;
}

/** A file appears under its name when it is whole; a device or a pipe is written to. */
async function open(path: string | undefined): Promise<Target> {
  const nothing = () => Promise.resolve();
  if (path === undefined) return { descriptor: 1, keep: nothing, close: nothing };
  const refuse = (error: unknown): never => {
    throw new Failure(`cannot write ${path}: ${messageOf(error)}`);
  };
  if (statSync(path, { throwIfNoEntry: false })?.isFile() ?? true) {
    const { OutputFile } = await import('../engine/output-file.ts');
    const file = await OutputFile.open(dirname(path)).catch(refuse);
    return {
      descriptor: file.handle.fd,
      keep: () => file.keep(path).catch(refuse),
      close: () => file.close(),
    };
  }
  const special = await openFile(path, 'w').catch(refuse);
  return { descriptor: special.fd, keep: nothing, close: () => special.close() };
}
