// Docker's `--change`: single Dockerfile instructions laid over an image's process defaults.
// Only those that describe a process; nothing here runs or copies anything.

import { posix } from 'node:path';
import type { ProcessDefaults } from '../../registry/oci.ts';
import { InvalidArgumentError } from '../errors.ts';

type Apply = (defaults: ProcessDefaults, argument: string, instruction: string) => void;

const instructions: Record<string, Apply> = {
  CMD: (defaults, argument) => {
    defaults.Cmd = command(argument);
  },
  ENTRYPOINT: (defaults, argument) => {
    defaults.Entrypoint = command(argument);
  },
  ENV: (defaults, argument, instruction) => {
    for (const [name, value] of pairs(argument, instruction)) {
      defaults.Env = [...(defaults.Env ?? []).filter((line) => !line.startsWith(`${name}=`)), `${name}=${value}`];
    }
  },
  EXPOSE: (defaults, argument, instruction) => {
    for (const port of words(argument)) {
      if (!/^\d{1,5}(-\d{1,5})?(\/(tcp|udp|sctp))?$/.test(port)) throw invalid(instruction, `${port} is no port`);
      defaults.ExposedPorts = { ...defaults.ExposedPorts, [port.includes('/') ? port : `${port}/tcp`]: {} };
    }
  },
  LABEL: (defaults, argument, instruction) => {
    defaults.Labels = { ...defaults.Labels, ...Object.fromEntries(pairs(argument, instruction)) };
  },
  ONBUILD: (defaults, argument) => {
    defaults.OnBuild = [...(defaults.OnBuild ?? []), argument];
  },
  STOPSIGNAL: (defaults, argument) => {
    defaults.StopSignal = argument;
  },
  USER: (defaults, argument) => {
    defaults.User = argument;
  },
  VOLUME: (defaults, argument) => {
    for (const path of list(argument) ?? words(argument)) defaults.Volumes = { ...defaults.Volumes, [path]: {} };
  },
  WORKDIR: (defaults, argument) => {
    defaults.WorkingDir = posix.resolve(defaults.WorkingDir || '/', argument);
  },
};

/** The defaults after the changes; the given ones stay as they are. */
export function applyChanges(defaults: ProcessDefaults, changes: readonly string[]): ProcessDefaults {
  const result = { ...defaults };
  for (const change of changes) {
    const [, name, argument] = /^\s*([A-Za-z]+)\s+([^]*?)\s*$/.exec(change) ?? [];
    const apply = instructions[name?.toUpperCase() ?? ''];
    if (!apply || !argument)
      throw invalid(change, `write one of ${Object.keys(instructions).join(', ')} and its argument`);
    apply(result, argument, change);
  }
  return result;
}

/** A JSON list as it is; anything else is a line for the shell. */
function command(argument: string): string[] {
  return list(argument) ?? ['/bin/sh', '-c', argument];
}

function list(argument: string): string[] | undefined {
  if (!argument.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(argument);
    if (Array.isArray(value) && value.every((one): one is string => typeof one === 'string')) return value;
  } catch {
    // As Docker: what looks like a list but is none is a shell line.
  }
  return undefined;
}

/** `A=1 B="two words"`, or the old `A the rest of the line`. */
function pairs(argument: string, instruction: string): [string, string][] {
  const [, name, rest] = /^([^\s=]+)\s+([^]+)$/.exec(argument) ?? [];
  if (name !== undefined && rest !== undefined) return [[name, rest]];
  return words(argument).map((word) => {
    const equals = word.indexOf('=');
    if (equals < 1) throw invalid(instruction, `${JSON.stringify(word)} is no NAME=value`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

/** Words as a shell splits them: quotes join, a backslash takes the next character as it is. */
function words(text: string): string[] {
  const found = text.match(/(?:[^\s"'\\]|\\[^]|"(?:[^"\\]|\\[^])*"|'[^']*')+/g) ?? [];
  return found.map((word) =>
    word.replace(
      /\\([^])|"((?:[^"\\]|\\[^])*)"|'([^']*)'/g,
      (_, escaped?: string, double?: string, single?: string) => {
        return escaped ?? double?.replace(/\\(["\\$])/g, '$1') ?? single ?? '';
      },
    ),
  );
}

function invalid(change: string, why: string): InvalidArgumentError {
  return new InvalidArgumentError('CHANGE_INVALID', `cannot apply the change ${JSON.stringify(change)}: ${why}`, {
    exitCode: 1,
  });
}
