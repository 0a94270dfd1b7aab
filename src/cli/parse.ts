// The only parser of command lines: Docker's rules (those of Go's pflag) over a command's description.
// `node:util` parseArgs cannot end flags at the first argument without reading unknown flags of the program
// behind it, so this is written by hand. Knows no command and prints nothing.
import type { Command, Flag, Flags, FlagValues, Invocation } from './command.ts';
import { UsageError, messageOf } from './failure.ts';

export type Parsed<F extends Flags> = Invocation<F> & { readonly help: boolean };

/** Parses what follows the verb. With `help` set, nothing else has been checked. */
export function parse<F extends Flags>(command: Command<F>, argv: readonly string[]): Parsed<F> {
  const { values, args, help } = parseFlags(command, argv);
  if (!help) checkCount(command, args.length);
  return { flags: values as FlagValues<F>, args, help };
}

/** How the usage line names the arguments: `IMAGE [COMMAND] [ARG...]`. */
export function argumentsUsage(command: Pick<Command, 'arguments'>): string {
  return command.arguments
    .map(({ name, required, multiple }) => {
      if (required && multiple) return `${name} [${name}...]`;
      if (required) return name;
      return multiple ? `[${name}...]` : `[${name}]`;
    })
    .join(' ');
}

interface FlagScan {
  values: Record<string, unknown>;
  args: string[];
  help: boolean;
}

/** Flags without a verb around them: kapsel's own before the verb are read with this too. */
export function parseFlags(
  command: Pick<Command, 'name' | 'flags' | 'flagsEndAtFirstArgument'>,
  argv: readonly string[],
): FlagScan {
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(command.flags)) if (flag.multiple) values[name] = [];
  const args: string[] = [];
  const fail = (message: string) => new UsageError(message, command.name);

  const set = (name: string, flag: Flag, text: string) => {
    let value: unknown;
    try {
      value = flag.value.parse(text);
    } catch (error) {
      const spelling = flag.short ? `-${flag.short}, --${name}` : `--${name}`;
      throw fail(`invalid argument "${text}" for "${spelling}" flag: ${messageOf(error)}`);
    }
    if (flag.multiple) (values[name] as unknown[]).push(value);
    else values[name] = value;
  };

  let index = 0;
  while (index < argv.length) {
    const word = argv[index++]!;
    if (word === '--') {
      args.push(...argv.slice(index));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      args.push(word);
      if (!command.flagsEndAtFirstArgument) continue;
      args.push(...argv.slice(index));
      break;
    }
    if (word.startsWith('--')) {
      const equals = word.indexOf('=');
      const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
      if (name === '' || name.startsWith('-')) throw fail(`bad flag syntax: ${word}`);
      const found = findLong(command.flags, name);
      if (!found) {
        if (name === 'help') return { values, args: [...args, ...argv.slice(index)], help: true };
        throw fail(`unknown flag: --${name}`);
      }
      if (equals >= 0) set(found.name, found.flag, word.slice(equals + 1));
      else if (found.flag.value.implicit !== undefined) {
        set(found.name, found.flag, found.flag.value.implicit);
      } else if (index < argv.length) set(found.name, found.flag, argv[index++]!);
      else throw fail(`flag needs an argument: --${name}`);
      continue;
    }
    // A cluster of short flags: the last one that takes a value takes the rest, or the next word.
    let rest = word.slice(1);
    while (rest !== '') {
      const short = rest[0]!;
      rest = rest.slice(1);
      const found = findShort(command.flags, short);
      if (!found) {
        if (short === 'h') return { values, args: [...args, ...argv.slice(index)], help: true };
        throw fail(`unknown shorthand flag: '${short}' in ${word}`);
      }
      if (rest.startsWith('=')) {
        set(found.name, found.flag, rest.slice(1));
        rest = '';
      } else if (found.flag.value.implicit !== undefined) {
        set(found.name, found.flag, found.flag.value.implicit);
      } else if (rest !== '') {
        set(found.name, found.flag, rest);
        rest = '';
      } else if (index < argv.length) {
        set(found.name, found.flag, argv[index++]!);
      } else throw fail(`flag needs an argument: '${short}' in ${word}`);
    }
  }
  return { values, args, help: false };
}

function findLong(flags: Flags, name: string): { name: string; flag: Flag } | undefined {
  if (Object.hasOwn(flags, name)) return { name, flag: flags[name]! };
  for (const [own, flag] of Object.entries(flags)) if (flag.alias === name) return { name: own, flag };
  return undefined;
}

function findShort(flags: Flags, short: string): { name: string; flag: Flag } | undefined {
  for (const [name, flag] of Object.entries(flags)) if (flag.short === short) return { name, flag };
  return undefined;
}

function checkCount(command: Pick<Command, 'name' | 'arguments'>, count: number): void {
  const least = command.arguments.filter((argument) => argument.required).length;
  const most = command.arguments.some((argument) => argument.multiple)
    ? Number.POSITIVE_INFINITY
    : command.arguments.length;
  if (count >= least && count <= most) return;
  const plural = (number: number) => `${number} argument${number === 1 ? '' : 's'}`;
  const name = `'kapsel ${command.name}'`;
  if (most === 0) throw new UsageError(`${name} accepts no arguments`, command.name, 1);
  if (least === most) throw new UsageError(`${name} requires ${plural(least)}`, command.name, 1);
  if (count < least) throw new UsageError(`${name} requires at least ${plural(least)}`, command.name, 1);
  throw new UsageError(`${name} requires at most ${plural(most)}`, command.name, 1);
}
