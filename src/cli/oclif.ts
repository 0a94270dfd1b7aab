// The way through oclif: its Command classes made from kapsel's descriptions, its help, and the plugins its core
// finds in the user's data directory. Loaded for these alone: oclif costs more than everything else together.
import { readFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Args, Command as OclifCommand, Config, Flags, Help, type Interfaces, settings } from '@oclif/core';
import type { Command, Flag, GlobalOptions } from './command.ts';
import { Failure } from './failure.ts';
import { globalFlags, parseGlobals } from './globals.ts';
import { runCommand } from './main.ts';
import { argumentsUsage, parse } from './parse.ts';
import { commands as descriptions, longFormsOf, nouns } from './verbs.ts';

/** By oclif's id (`volume:ls`): what its `explicit` strategy looks for in this module. */
export const commands: Record<string, typeof OclifCommand> = Object.fromEntries(
  descriptions.map((command) => [command.name.replaceAll(' ', ':'), classOf(command)]),
);

/** Help of kapsel, of a noun or of a verb. */
export async function help(words: readonly string[]): Promise<number> {
  const config = await loadConfig();
  const id = words.join(':');
  if (words.length > 0 && !config.findCommand(id) && !config.findTopic(id)) throw unknown(words);
  await new KapselHelp(config).showHelp([...words]);
  return 0;
}

/** Runs a plugin's command, or shows what there is below a noun. */
export async function runPlugin(words: readonly string[], globals: GlobalOptions): Promise<number> {
  const config = await loadConfig();
  // The longest beginning of the line that some plugin knows.
  for (let length = words.length; length > 0; length--) {
    const id = words.slice(0, length).join(':');
    const found = config.findCommand(id);
    if (!found) continue;
    const rest = words.slice(length);
    if (rest.slice(0, rest.includes('--') ? rest.indexOf('--') : undefined).includes('--help'))
      return help(words.slice(0, length));
    settings.debug = globals.debug;
    await config.runHook('init', { argv: rest, id });
    try {
      const result = await config.runCommand(id, rest, found);
      return typeof result === 'number' ? result : 0;
    } catch (error) {
      throw ofPlugin(error);
    }
  }
  if (words.length === 1 && config.findTopic(words[0]!)) return help(words);
  throw unknown(words);
}

function unknown(words: readonly string[]): Failure {
  const shown = Object.hasOwn(nouns, words[0]!) ? words.slice(0, 2) : words.slice(0, 1);
  return new Failure(`unknown command: kapsel ${shown.join(' ')}: run 'kapsel --help' for those there are`);
}

/** oclif's own errors say their exit code in a place of their own. */
function ofPlugin(error: unknown): unknown {
  const exit = error instanceof Error && 'oclif' in error ? (error.oclif as { exit?: number }).exit : undefined;
  return exit === undefined ? error : Object.assign(new Failure((error as Error).message, exit), { cause: error });
}

async function loadConfig(): Promise<Config> {
  const here = fileURLToPath(import.meta.url);
  const root = packageRoot(here);
  const manifest = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as Interfaces.PJSON;
  const pjson = {
    ...manifest,
    oclif: {
      ...manifest.oclif,
      bin: 'kapsel',
      topicSeparator: ' ' as const,
      // This very module, whether it runs from src or from dist.
      commands: { strategy: 'explicit' as const, target: `./${relative(root, here)}`, identifier: 'commands' },
      topics: Object.fromEntries(Object.entries(nouns).map(([noun, description]) => [noun, { description }])),
    },
  };
  return Config.load({ root, pjson, ignoreManifest: true } as Interfaces.LoadOptions & object);
}

/** The nearest directory above that has a package.json. */
function packageRoot(path: string): string {
  for (let directory = dirname(path); directory !== '/'; directory = dirname(directory)) {
    try {
      readFileSync(`${directory}/package.json`);
      return directory;
    } catch {
      continue;
    }
  }
  throw new Failure(`no package.json above ${path}: install kapsel again`);
}

class KapselHelp extends Help {
  override formatRoot(): string {
    const list = this.renderList(
      Object.entries(globalFlags).map(([name, flag]) => [
        `${'short' in flag ? `-${flag.short}, ` : '    '}--${name}${flag.value.placeholder && ` ${flag.value.placeholder}`}`,
        flag.description,
      ]),
      { indentation: 2, stripAnsi: this.opts.stripAnsi ?? false },
    );
    return `${super.formatRoot()}\n\n${this.section('GLOBAL FLAGS (before the command)', list)}`;
  }
}

/** An oclif class that parses as kapsel does. */
function classOf(command: Command<any>): typeof OclifCommand {
  return class extends OclifCommand {
    static override summary = command.summary;
    static override description = command.description ?? '';
    static override hidden = command.hidden ?? false;
    static override aliases = longFormsOf(command.name).map((long) => long.replaceAll(' ', ':'));
    static override strict = false;
    static override usage = `${command.name} [OPTIONS] ${argumentsUsage(command)}`.trim();
    static override examples = command.examples.map((example) => ({
      command: `<%= config.bin %> ${example.command}`,
      description: example.description,
    }));
    static override args = Object.fromEntries(
      command.arguments.map(({ name, required }) => [name, Args.string({ required: required ?? false, hidden: true })]),
    );
    static override flags = Object.fromEntries(
      Object.entries(command.flags as Record<string, Flag>).map(([name, flag]) => [name, flagOf(flag)]),
    );

    override async run(): Promise<number> {
      const invocation = parse(command, this.argv);
      if (invocation.help) return help(command.name.split(' '));
      return runCommand(command, invocation, parseGlobals([], process.env));
    }
  };
}

function flagOf(flag: Flag): Interfaces.Flag<any> {
  const common = {
    description: flag.description,
    hidden: flag.hidden ?? false,
    ...(flag.short && { char: flag.short as never }),
    ...(flag.alias && { aliases: [flag.alias] }),
  };
  if (flag.value.implicit !== undefined) return Flags.boolean(common) as Interfaces.Flag<any>;
  return Flags.string({ ...common, multiple: flag.multiple ?? false, helpValue: flag.value.placeholder } as never);
}
