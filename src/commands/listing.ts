// The listing commands' one way to print rows: a table, ids only, JSON lines, or a template of the user's.
import { Failure, messageOf } from '../cli/failure.ts';
import { print } from '../ui/output.ts';
import { plainJson } from '../ui/plain.ts';
import { table } from '../ui/table.ts';
import { compileTemplate, unescapeFormat } from '../ui/template.ts';

export interface Column {
  /** The field a template names. */
  field: string;
  header: string;
}

export interface Listing {
  /** What the plain table shows. */
  columns: readonly Column[];
  /** Headers of the fields only templates show. */
  headers?: Readonly<Record<string, string>>;
  rows: readonly Readonly<Record<string, unknown>>[];
  format?: string | undefined;
}

export function printListing({ columns, headers = {}, rows, format = 'table' }: Listing): void {
  if (format === 'json') {
    for (const row of rows) print(`${plainJson(row)}\n`);
    return;
  }
  if (format === '' || format === 'table') {
    print(
      table([
        columns.map((column) => column.header),
        ...rows.map((row) => columns.map((column) => String(row[column.field] ?? ''))),
      ]),
    );
    return;
  }
  const withHeader = format.startsWith('table ');
  const source = unescapeFormat(withHeader ? format.slice('table '.length) : format);
  const template = compile(source);
  const lines = rows.map((row) => render(template, row));
  if (!withHeader) {
    for (const line of lines) print(`${line}\n`);
    return;
  }
  const names = {
    ...headers,
    ...Object.fromEntries(columns.map((column) => [column.field, column.header])),
  };
  print(table([render(template, headerRow(names)), ...lines].map((line) => line.split('\t'))));
}

/** `--format` of the commands that describe: inspect, info, version. */
export function renderFormat(format: string, value: unknown): string {
  return render(compile(unescapeFormat(format)), value);
}

function compile(source: string) {
  try {
    return compileTemplate(source);
  } catch (error) {
    throw new Failure(messageOf(error));
  }
}

function render(template: (data: unknown) => string, value: unknown): string {
  try {
    return template(value);
  } catch (error) {
    throw new Failure(messageOf(error));
  }
}

/** A row whose every field is its own header, so that a table's template prints its first line too. */
function headerRow(names: Readonly<Record<string, string>>): unknown {
  return {
    ...names,
    Label: (name: string) => name.split('.').at(-1) ?? name,
  };
}
