// `-f name=value` of the listing commands.
import type { Value } from '../command.ts';
import { Failure, messageOf } from '../failure.ts';

export const filter: Value<readonly [string, string]> = {
  placeholder: 'filter',
  parse(given) {
    const equals = given.indexOf('=');
    if (equals < 1) throw new Error('bad format of filter (expected name=value)');
    return [given.slice(0, equals).trim().toLowerCase(), given.slice(equals + 1).trim()];
  },
};

/** The values of each name, given that only `known` names mean something. */
export function filters(
  given: readonly (readonly [string, string])[],
  known: readonly string[],
): Record<string, string[]> {
  const grouped: Record<string, string[]> = {};
  for (const [name, value] of given) {
    if (!known.includes(name)) throw new Failure(`invalid filter '${name}': known are ${known.join(', ')}`);
    (grouped[name] ??= []).push(value);
  }
  return grouped;
}

/** The last of a filter's values, understood by `parse`. */
export function filterValue<T>(name: string, values: readonly string[], parse: (text: string) => T): T {
  try {
    return parse(values.at(-1) ?? '');
  } catch (error) {
    throw new Failure(`invalid filter '${name}=${values.at(-1)}': ${messageOf(error)}`);
  }
}
