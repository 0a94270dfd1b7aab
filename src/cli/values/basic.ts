// The values any command line has: text, yes or no, whole numbers. Errors are worded as Go's strconv words
// them, because that is what users of Docker search for.
import type { Value } from '../command.ts';

export const text: Value<string> = { placeholder: 'string', parse: (given) => given };

/** Text in a notation of its own (`512m`, `nofile=1024:2048`): the engine parses it, and says what is wrong with it. */
export function notation(placeholder: string): Value<string> {
  return { placeholder, parse: (given) => given };
}

/** Text that may be given more than once. */
export const item: Value<string> = { placeholder: 'list', parse: (given) => given };

export const yes: Value<boolean> = { placeholder: '', implicit: 'true', parse: parseBoolean };

export function parseBoolean(given: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(given)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(given)) return false;
  throw new Error(`strconv.ParseBool: parsing ${JSON.stringify(given)}: invalid syntax`);
}

export const integer: Value<number> = { placeholder: 'int', parse: parseInteger };

/** Decimal, or with Go's prefixes 0x, 0o, 0b. */
export function parseInteger(given: string): number {
  if (!/^[+-]?(\d+|0[xX][\da-fA-F]+|0[oO][0-7]+|0[bB][01]+)$/.test(given)) {
    throw new Error(`strconv.ParseInt: parsing ${JSON.stringify(given)}: invalid syntax`);
  }
  const digits = given.replace(/^[+-]/, '');
  const size = /^0\d/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
  if (!Number.isSafeInteger(size)) {
    throw new Error(`strconv.ParseInt: parsing ${JSON.stringify(given)}: value out of range`);
  }
  return given.startsWith('-') ? -size : size;
}

/** One of a fixed set of words; an empty word is the default. */
export function oneOf<const Word extends string>(
  words: readonly Word[],
  complaint: (given: string) => string,
): Value<Word> {
  return {
    placeholder: 'string',
    parse(given) {
      const word = words.find((candidate) => candidate === given);
      if (word === undefined) throw new Error(complaint(given));
      return word;
    },
  };
}
