// What a command is: one description, as data, from which the parser, the help, the oclif class and the
// dispatcher are all made. Owns the types only; parsing is in parse.ts, running in main.ts.
import type { Engine } from '../engine/engine.ts';

/** How a flag's text becomes a value. Throws an Error whose message says what is wrong with the text. */
export interface Value<T> {
  /** The word Docker's help shows after the flag: `string`, `list`, `bytes`. Empty for a boolean. */
  readonly placeholder: string;
  /** What the flag means when it stands alone; without it the flag needs an argument. */
  readonly implicit?: string;
  parse(text: string): T;
}

export interface Flag<T = unknown> {
  readonly value: Value<T>;
  readonly short?: string;
  /** A second long spelling that Docker accepts as well. */
  readonly alias?: string;
  readonly multiple?: boolean;
  readonly description: string;
  /** Accepted for compatibility, but not shown. */
  readonly hidden?: boolean;
}

export interface Argument {
  /** In capitals, as it stands in the usage line. */
  readonly name: string;
  readonly required?: boolean;
  /** Takes all that follows. Only the last may. */
  readonly multiple?: boolean;
}

export type Flags = Readonly<Record<string, Flag>>;

type ValueOf<F> = F extends { value: Value<infer T> } ? (F extends { multiple: true } ? T[] : T | undefined) : never;

/** A command's flags once parsed: lists are never undefined, everything else is where it was not given. */
export type FlagValues<F extends Flags> = { -readonly [Name in keyof F]: ValueOf<F[Name]> };

/** Options that stand before the verb and say which engine is meant. */
export interface GlobalOptions {
  root?: string;
  runRoot?: string;
  cgroupParent?: string;
  defaultNetwork?: string;
  publishDefault?: string;
  debug: boolean;
}

/** What a command may touch besides its own flags and arguments. */
export interface Context {
  readonly globals: GlobalOptions;
  /** Opens the engine at the first call; the dispatcher closes it. */
  engine(): Promise<Engine>;
}

export interface Invocation<F extends Flags> {
  readonly flags: FlagValues<F>;
  readonly args: readonly string[];
}

export interface Command<F extends Flags = Flags> {
  /** What is typed after `kapsel`: `run`, `volume ls`. */
  readonly name: string;
  readonly summary: string;
  /** What the help says below the summary, if there is more to say. */
  readonly description?: string;
  readonly flags: F;
  readonly arguments: readonly Argument[];
  /** Docker's rule for run, create and exec: what follows the first argument belongs to the program. */
  readonly flagsEndAtFirstArgument?: boolean;
  readonly examples: readonly { readonly command: string; readonly description: string }[];
  readonly hidden?: boolean;
  /** The exit code of an error the command did not give one itself: 125 for those that start a program. */
  readonly failure?: number;
  /** Resolves with the exit code; nothing is 0. */
  run(invocation: Invocation<F>, context: Context): Promise<number | void>;
}

/** Gives the description its exact type, so that `run` knows its own flags. */
export function defineCommand<const F extends Flags>(command: Command<F>): Command<F> {
  return command;
}
