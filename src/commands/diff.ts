// `kapsel diff`: what a container has added, changed and deleted.
import { defineCommand } from '../cli/command.ts';
import { text } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { plain, plainJson } from '../ui/plain.ts';
import { Failure } from '../cli/failure.ts';

export const diff = defineCommand({
  name: 'diff',
  summary: "Inspect changes to files or directories on a container's filesystem",
  flags: { format: { value: text, description: "'json' for an array of kind and path" } },
  arguments: [{ name: 'CONTAINER', required: true }],
  examples: [{ command: 'diff web', description: 'A added, C changed, D deleted' }],
  async run({ flags, args: [name = ''] }, context) {
    if (flags.format !== undefined && flags.format !== 'json')
      throw new Failure(`unknown format ${flags.format}: json`);
    const engine = await context.engine();
    const changes = await (await engine.containers.get(name)).diff();
    if (flags.format === 'json') printLine(plainJson(changes));
    else for (const { kind, path } of changes) printLine(`${kind} ${plain(path)}`);
  },
});
