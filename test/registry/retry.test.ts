// What is tried again, and after how long.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { defaultRetries, delay, isBusy, isPassing, retryAfter } from '../../src/registry/retry.ts';

const t = suite('tries');
const noon = Date.parse('2024-02-29T12:00:00Z');

for (const [text, expected] of [
  ['0', 0],
  ['7', 7_000],
  [' 120 ', 120_000],
  ['Thu, 29 Feb 2024 12:00:30 GMT', 30_000],
  ['Thursday, 29-Feb-24 12:00:30 GMT', 30_000],
  ['Thu, 29 Feb 2024 11:00:00 GMT', 0],
  ['', undefined],
  ['soon', undefined],
  [undefined, undefined],
] as const) {
  t(`Retry-After: ${text}`, () => {
    assert.is(retryAfter(text === undefined ? {} : { 'retry-after': text }, noon), expected);
  });
}

t('what the server asks for is waited for; else two seconds, doubling to a minute', () => {
  const delays = [2, 3, 4, 5, 6, 7, 8].map((attempt) => delay(defaultRetries, attempt, undefined) / 1000);
  assert.equal(delays, [2, 4, 8, 16, 32, 60, 60]);
  assert.is(delay(defaultRetries, 2, 90_000), 90_000);
  assert.is(delay(defaultRetries, 8, 0), 0);
  assert.is(defaultRetries.attempts, 5);
});

t('a server that is busy, and connections that break, come round; nothing else does', () => {
  const statuses = [200, 206, 301, 400, 401, 404, 416, 429, 500, 502, 503, 504];
  assert.equal(statuses.filter(isBusy), [429, 502, 503, 504]);
  const failed = (code: string) => Object.assign(new Error(code), { code });
  for (const code of ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN']) assert.ok(isPassing(failed(code)), code);
  for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'ENOSPC']) {
    assert.not.ok(isPassing(failed(code)), code);
  }
  assert.not.ok(isPassing(new Error('no code')));
});

t.run();
