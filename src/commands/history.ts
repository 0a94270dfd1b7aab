// `kapsel history`: how an image was made, the last step first.
import { defineCommand } from '../cli/command.ts';
import { text, yes } from '../cli/values/basic.ts';
import type { HistoryEntry } from '../engine/images.ts';
import { printLine } from '../ui/output.ts';
import { ago, ellipsis, humanSize } from '../ui/units.ts';
import { shortId } from './images.ts';
import { printListing } from './listing.ts';

const columns = [
  { field: 'ID', header: 'IMAGE' },
  { field: 'CreatedSince', header: 'CREATED' },
  { field: 'CreatedBy', header: 'CREATED BY' },
  { field: 'Size', header: 'SIZE' },
  { field: 'Comment', header: 'COMMENT' },
];

export const history = defineCommand({
  name: 'history',
  summary: 'Show the history of an image',
  flags: {
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    human: { value: yes, short: 'H', description: 'Print sizes and dates in human readable format (default true)' },
    'no-trunc': { value: yes, description: "Don't truncate output" },
    quiet: { value: yes, short: 'q', description: 'Only show image IDs' },
  },
  arguments: [{ name: 'IMAGE', required: true }],
  examples: [{ command: 'history --no-trunc debian:12', description: 'The whole commands' }],
  async run({ flags, args: [name = ''] }, context) {
    const engine = await context.engine();
    const { human = true, 'no-trunc': full = false } = flags;
    const rows = engine.images.history(name).map((entry) => row(entry, human, full));
    if (flags.quiet) {
      for (const { ID } of rows) printLine(ID);
      return;
    }
    const shown = human ? columns : columns.map((one) => (one.field === 'CreatedSince' ? createdAt : one));
    printListing({ columns: shown, headers: { CreatedAt: createdAt.header }, rows, format: flags.format });
  },
});

const createdAt = { field: 'CreatedAt', header: 'CREATED AT' };

/** Docker's fields; what an image says of itself may have tabs and line ends. */
export function row({ id, created, createdBy, comment, size }: HistoryEntry, human: boolean, full: boolean) {
  const command = createdBy.replaceAll(/\s/g, ' ');
  return {
    ID: id === null ? '<missing>' : shortId(id, full),
    CreatedSince: created === null ? 'N/A' : ago(created),
    // Docker's precision.
    CreatedAt: created?.replace(/\.\d+/, '') ?? 'N/A',
    CreatedBy: full ? command : ellipsis(command, 45),
    Size: human ? humanSize(size) : String(size),
    Comment: full ? comment : ellipsis(comment, 45),
  };
}
