// A program beside a container's first: Docker's rules for what it inherits, as the monitor's exec request.

import { InvalidArgumentError } from '../errors.ts';
import { capabilities } from './capabilities.ts';
import { ociProcess } from './launch.ts';
import type { ExecOptions } from './options.ts';
import { environmentLines, type Settings } from './settings.ts';

export interface ExecRequest {
  request: 'exec';
  process: ReturnType<typeof ociProcess>;
  user: string;
  groupAdd: readonly string[];
  detach: boolean;
}

export function execRequest(settings: Settings, options: ExecOptions, detach = false): ExecRequest {
  if (options.command.length === 0 || options.command[0] === '') {
    throw new InvalidArgumentError('COMMAND_MISSING', 'No exec command specified: name a program after the container');
  }
  if (options.command.some((word) => word.includes('\0'))) {
    throw new InvalidArgumentError('COMMAND_INVALID', 'a word of the command holds a NUL');
  }
  const tty = options.tty ?? false;
  return {
    request: 'exec',
    process: ociProcess(
      {
        ...settings,
        tty,
        columns: options.columns,
        rows: options.rows,
        env: environment(settings, options, tty),
        workdir: options.workdir ?? settings.workdir,
        capabilities: options.privileged ? capabilities([], [], true) : settings.capabilities,
      },
      options.command,
    ),
    user: options.user ?? settings.user,
    groupAdd: [...settings.groupAdd, ...(options.groupAdd ?? []).map(String)],
    detach,
  };
}

/** The container's, then the exec's own; a terminal's TERM where neither has one. */
function environment(settings: Settings, options: ExecOptions, tty: boolean): string[] {
  const merged = new Map<string, string>(tty ? [['TERM', 'TERM=xterm']] : []);
  for (const line of settings.env) merged.set(line.slice(0, line.indexOf('=')), line);
  for (const line of environmentLines(options.env)) {
    const equals = line.indexOf('=');
    if (equals < 0) merged.delete(line);
    else merged.set(line.slice(0, equals), line);
  }
  return [...merged.values()];
}
