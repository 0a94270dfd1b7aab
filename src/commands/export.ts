// `kapsel export`: a container's whole tree as a tar.
import { closeSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { defineCommand } from '../cli/command.ts';
import { Failure, messageOf } from '../cli/failure.ts';
import { text } from '../cli/values/basic.ts';
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
      container.export(async (tar) => {
        const target = open(output);
        try {
          for await (const piece of tar) writeAll(target.descriptor, piece);
          target.keep();
        } finally {
          target.close();
        }
      }, signal),
    );
  },
});

/** A file appears under its name when it is whole; a device or a pipe is written to. */
function open(path: string | undefined): { descriptor: number; keep(): void; close(): void } {
  if (path === undefined) return { descriptor: 1, keep() {}, close() {} };
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? true;
  const temporary = isFile ? `${path}.${process.pid}.part` : path;
  let descriptor: number;
  try {
    descriptor = openSync(temporary, isFile ? 'wx' : 'w', 0o600);
  } catch (error) {
    throw new Failure(`cannot write ${path}: ${messageOf(error)}`);
  }
  let kept = !isFile;
  return {
    descriptor,
    keep() {
      if (isFile) renameSync(temporary, path);
      kept = true;
    },
    close() {
      closeSync(descriptor);
      if (!kept) rmSync(temporary, { force: true });
    },
  };
}
