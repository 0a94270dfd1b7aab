// Borderless tables, aligned as Go's tabwriter aligns Docker's: columns at least ten wide, three spaces between.
import { plain } from './plain.ts';

const least = 10;
const gap = 3;

/** Lines of cells, the header first; the last cell of a line is not padded. */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(plain));
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.slice(0, -1).entries()) {
      widths[column] = Math.max(widths[column] ?? least, width(cell) + gap);
    }
  }
  return rows
    .map(
      (row) =>
        row
          .map((cell, column) => (column === row.length - 1 ? cell : cell + ' '.repeat(widths[column]! - width(cell))))
          .join('') + '\n',
    )
    .join('');
}

function width(cell: string): number {
  let columns = 0;
  for (const character of cell) {
    columns += isWide(character.codePointAt(0)!) ? 2 : 1;
  }
  return columns;
}

/** East Asian wide and emoji, roughly: names may hold anything a label may. */
function isWide(code: number): boolean {
  return (
    code >= 0x1100 &&
    (code <= 0x115f ||
      (code >= 0x2e80 && code <= 0xa4cf) ||
      (code >= 0xac00 && code <= 0xd7a3) ||
      (code >= 0xf900 && code <= 0xfaff) ||
      (code >= 0xfe30 && code <= 0xfe6f) ||
      (code >= 0xff00 && code <= 0xff60) ||
      (code >= 0x1f300 && code <= 0x1faff))
  );
}
