// The dispatcher: finds the verb, parses its line, runs it, turns what is thrown into one line and an exit code.
// Verbs of kapsel's own never pass through oclif; help, plugins and words nobody knows do.
import { Engine } from '../engine/engine.ts';
import { say } from '../ui/output.ts';
import type { Command, Context, GlobalOptions } from './command.ts';
import { Failure, UsageError, describe } from './failure.ts';
import { type Globals, parseGlobals } from './globals.ts';
import { parse } from './parse.ts';
import { findVerb } from './verbs.ts';

/** Runs one command line and resolves with the exit code. Never rejects. */
export async function main(argv: readonly string[], environment: NodeJS.ProcessEnv = process.env): Promise<number> {
  let globals: Globals | undefined;
  let command: Command<any> | undefined;
  try {
    globals = parseGlobals(argv, environment);
    const words = globals.rest[0] === 'help' ? globals.rest.slice(1) : globals.rest;
    const verb = globals.version ? findVerb(['version']) : findVerb(words);
    if (!verb || globals.help || globals.rest[0] === 'help') {
      const { help, runPlugin } = await import('./oclif.ts');
      if (globals.help || words !== globals.rest || words.length === 0) return await help(words);
      return await runPlugin(words, globals);
    }
    command = verb.command;
    const invocation = parse(command, globals.version ? [] : verb.rest);
    if (invocation.help) {
      const { help } = await import('./oclif.ts');
      return await help(command.name.split(' '));
    }
    return await runCommand(command, invocation, globals);
  } catch (error) {
    return report(error, command, globals?.debug ?? Boolean(environment['DEBUG']));
  }
}

/** Runs a command whose line has been parsed, with an engine that is opened when it is asked for. */
export async function runCommand(
  command: Command<any>,
  invocation: { flags: any; args: readonly string[] },
  globals: GlobalOptions,
): Promise<number> {
  let opened: Engine | undefined;
  const context: Context = {
    globals,
    async engine() {
      const { debug: _, ...options } = globals;
      return (opened ??= new Engine(options));
    },
  };
  try {
    return (await command.run(invocation, context)) ?? 0;
  } finally {
    await opened?.close();
  }
}

/** One line on stderr; the stack only where it was asked for. */
export function report(error: unknown, command: Command<any> | undefined, debug: boolean): number {
  say(`kapsel: ${describe(error)}`);
  if (error instanceof UsageError) {
    say(`See 'kapsel ${error.command}${error.command && ' '}--help'.`);
  }
  if (debug && error instanceof Error) say(stackOf(error));
  if (error instanceof Failure) return error.exitCode;
  const own = error instanceof Error && 'exitCode' in error ? error.exitCode : undefined;
  // What an error class leaves at 1 is a failure of the engine: 125 for a command that stands for a program.
  if (typeof own === 'number' && own !== 1) return own;
  return command?.failure ?? 1;
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : '';
  return `${error.stack}${cause}`;
}
