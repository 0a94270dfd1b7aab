// `NAME=VALUE` of `--sysctl` and `--log-opt`.
import type { Value } from '../command.ts';

export function pair(what: string): Value<readonly [string, string]> {
  return {
    placeholder: 'map',
    parse(given) {
      const equals = given.indexOf('=');
      if (equals < 1) throw new Error(`invalid ${what} '${given}': give NAME=VALUE`);
      return [given.slice(0, equals), given.slice(equals + 1)];
    },
  };
}
