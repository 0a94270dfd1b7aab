// `--detach-keys ctrl-p,ctrl-q`: the bytes which, typed in a row, let go of a terminal.
import type { Value } from '../command.ts';

export const detachKeys: Value<Uint8Array> = {
  placeholder: 'string',
  parse(given) {
    if (given === '') return new Uint8Array();
    return Uint8Array.from(given.split(','), (key) => {
      if (key.length === 1 && key.charCodeAt(0) < 128) return key.charCodeAt(0);
      const control = /^ctrl-([a-zA-Z@[\\\]^_])$/.exec(key);
      if (!control) {
        throw new Error(
          `Unknown character: '${key}': keys are a single character or ctrl- and one of a-z, @, [, \\, ], ^, _`,
        );
      }
      return control[1]!.toUpperCase().charCodeAt(0) - 64;
    });
  },
};
