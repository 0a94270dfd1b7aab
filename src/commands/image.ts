// `kapsel image tree` and `image diff`: what layers an image stands on, and what sets two images apart.
import { defineCommand } from '../cli/command.ts';
import { oneOf, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { plain, plainJson } from '../ui/plain.ts';
import { ellipsis, humanSize } from '../ui/units.ts';
import { shortId } from './images.ts';

const format = {
  value: oneOf(['text', 'json'], (given) => `unknown format ${given}: known are text, json`),
  description: "Format output: 'text' or 'json'",
};

export const imageTree = defineCommand({
  name: 'image tree',
  summary: 'Show the layers of an image: what each adds, and which other images have it',
  flags: { format, 'no-trunc': { value: yes, description: "Don't truncate output" } },
  arguments: [{ name: 'IMAGE', required: true, multiple: true }],
  examples: [{ command: 'image tree app:1', description: 'The lowest layer first' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    const full = flags['no-trunc'] ?? false;
    for (const name of args) {
      const { id, reference, size, layers } = engine.images.tree(name);
      if (flags.format === 'json') {
        printLine(plainJson({ id, reference, size, layers }));
        continue;
      }
      printLine(`${reference} (${shortId(id, full)}, ${humanSize(size)})`);
      for (const [index, layer] of layers.entries()) {
        const branch = index === layers.length - 1 ? '└──' : '├──';
        const command = layer.createdBy.replaceAll(/\s+/g, ' ');
        const shared = layer.sharedBy.length > 0 ? ` [also in ${layer.sharedBy.join(', ')}]` : '';
        const text = `${shortId(layer.diffId, full)} ${humanSize(layer.size).padStart(7)}  ${full ? command : ellipsis(command, 60)}`;
        printLine(`${branch} ${plain(text.trimEnd() + shared)}`);
      }
    }
  },
});

export const imageDiff = defineCommand({
  name: 'image diff',
  summary: 'Show what sets the file systems of two images apart',
  description: `A is added, C changed, D deleted, from the first image to the second. Where more or something else than the
content has changed, it is named: type, mode, owner, content, attributes (extended), time.`,
  flags: { format, times: { value: yes, description: 'Show also what differs in its time of modification alone' } },
  arguments: [
    { name: 'IMAGE', required: true },
    { name: 'IMAGE', required: true },
  ],
  examples: [{ command: 'image diff app:1 app:2', description: 'With the sizes of files before and after' }],
  async run({ flags, args: [first = '', second = ''] }, context) {
    const engine = await context.engine();
    const differences = await engine.images.diff(first, second, { times: flags.times });
    if (flags.format === 'json') {
      printLine(plainJson(differences));
      return;
    }
    let growth = 0;
    for (const { kind, path, what, before, after } of differences) {
      growth += (after ?? 0) - (before ?? 0);
      const sizes = { A: after, D: before, C: after }[kind];
      const was = kind === 'C' && before !== null && before !== after ? `${humanSize(before)} → ` : '';
      const named = what.length === 0 || what.join() === 'content' ? '' : `  (${what.join(', ')})`;
      printLine(`${kind} ${plain(path)}${sizes === null ? '' : `  ${was}${humanSize(sizes)}`}${named}`);
    }
    const sign = growth < 0 ? '-' : '+';
    printLine(`${differences.length} differences, ${sign}${humanSize(Math.abs(growth))}`);
  },
});
