// An assertion: a promise rejects with an error of ours that has these properties, in one line.

import * as assert from 'uvu/assert';

import { KapselError } from '../../src/engine/errors.ts';

export async function rejects(
  work: Promise<unknown>,
  expected: { code?: string; exitCode?: number; message?: RegExp },
): Promise<KapselError> {
  const rejection: unknown = await work.then(
    (value) => new Error(`it resolved with ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  assert.instance(rejection, KapselError, String((rejection as Error).stack));
  const error = rejection as KapselError;
  if (expected.code !== undefined) assert.is(error.code, expected.code, error.message);
  if (expected.exitCode !== undefined) assert.is(error.exitCode, expected.exitCode, error.message);
  if (expected.message !== undefined) assert.match(error.message, expected.message);
  assert.not.match(error.message, /\n/);
  return error;
}
