// An assertion: something is refused with a stable code, Docker's exit status and one line.

import * as assert from 'uvu/assert';

import { KapselError } from '../../src/engine/errors.ts';

export function refuses(work: () => unknown, code: string, message = /./): void {
  let refusal: unknown;
  try {
    work();
  } catch (error) {
    refusal = error;
  }
  assert.instance(refusal, KapselError, `nothing was refused, or not by us: ${String(refusal)}`);
  const { code: actual, message: line, exitCode } = refusal as KapselError;
  assert.is(actual, code);
  assert.is(exitCode, 125);
  assert.match(line, message);
  assert.not.match(line, /\n/);
}
