// `-e NAME=value`, `-e NAME`, `--env-file`, and the same for labels: Docker's rules, files read here.
import { readFileSync } from 'node:fs';
import type { Value } from '../command.ts';
import { Failure } from '../failure.ts';

/** `NAME=value`; a bare NAME takes the value from kapsel's own environment, or takes the image's away. */
export const variable: Value<string> = {
  placeholder: 'list',
  parse(given) {
    const [name] = split(given);
    if (name === '') throw new Error(`invalid environment variable: ${given}`);
    if (given.includes('=')) return given;
    const own = process.env[given];
    return own === undefined ? given : `${given}=${own}`;
  },
};

export const label: Value<readonly [string, string]> = {
  placeholder: 'list',
  parse(given) {
    const [name, value] = split(given);
    if (name === '') throw new Error(`invalid label '${given}': empty name`);
    return [name, value];
  },
};

/** The variables of the files, then those of the command line, which win because they come last. */
export function environment(files: readonly string[], variables: readonly string[]): string[] {
  return [...files.flatMap((file) => readEnvFile(file)), ...variables];
}

export function labels(
  files: readonly string[],
  given: readonly (readonly [string, string])[],
): Record<string, string> {
  const fromFiles = files.flatMap((file) =>
    readLines(file, 'label file').map((line) => {
      const [name, value] = split(line);
      return [name, value] as const;
    }),
  );
  return Object.fromEntries([...fromFiles, ...given]);
}

function readEnvFile(path: string): string[] {
  return readLines(path, 'env file').flatMap((line) => {
    if (line.includes('=')) return [line];
    // A name alone passes kapsel's own variable on, and is nothing where there is none.
    const own = process.env[line];
    return own === undefined ? [] : [`${line}=${own}`];
  });
}

function readLines(path: string, what: string): string[] {
  let content: string;
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof TypeError) {
      throw new Failure(`invalid ${what} (${path}): it contains invalid utf8 bytes`, 125);
    }
    const code = (error as NodeJS.ErrnoException).code;
    const why = { ENOENT: 'no such file or directory', EISDIR: 'is a directory', EACCES: 'permission denied' };
    throw new Failure(`open ${path}: ${why[code as keyof typeof why] ?? code}`, 125);
  }
  const lines: string[] = [];
  for (const raw of content.split('\n')) {
    const line = raw.replace(/\r$/, '').trimStart();
    if (line === '' || line.startsWith('#')) continue;
    const [name] = split(line);
    if (name === '') throw new Failure(`invalid ${what} (${path}): no variable name on line '${line}'`, 125);
    if (/\s/.test(name)) {
      throw new Failure(`invalid ${what} (${path}): variable '${name}' contains whitespaces`, 125);
    }
    lines.push(line);
  }
  return lines;
}

function split(given: string): [name: string, value: string] {
  const equals = given.indexOf('=');
  return equals < 0 ? [given, ''] : [given.slice(0, equals), given.slice(equals + 1)];
}
