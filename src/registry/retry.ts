// When a failed exchange is worth another try, and how long to wait before it.

import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface RetryPolicy {
  /** Tries in all. */
  attempts: number;
  /** Milliseconds before the second try where the server names none; doubles each time, up to `longest`. */
  first: number;
  longest: number;
  /** Milliseconds of a Retry-After beyond which we give up at once: nobody waits that long for a pull. */
  patience: number;
}

export const defaultRetries: RetryPolicy = { attempts: 5, first: 2_000, longest: 60_000, patience: 120_000 };

const passing = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'ECONNABORTED',
  'ERR_STREAM_PREMATURE_CLOSE',
]);

/** Broken connections and time-outs come and go; a refused connection or an unknown host does not mend in seconds. */
export function isPassing(error: unknown): boolean {
  return passing.has((error as NodeJS.ErrnoException)?.code ?? '');
}

export function isBusy(status: number): boolean {
  return status === 429 || status === 502 || status === 503 || status === 504;
}

/** Milliseconds that Retry-After asks for: seconds or a date (RFC 9110, 10.2.3). */
export function retryAfter(headers: IncomingHttpHeaders, now: number = Date.now()): number | undefined {
  const text = headers['retry-after']?.trim();
  if (!text) return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Milliseconds before try number `attempt` (the second is 2). */
export function delay({ first, longest }: RetryPolicy, attempt: number, asked: number | undefined): number {
  return asked ?? Math.min(first * 2 ** (attempt - 2), longest);
}

/** Waits before try number `attempt`. */
export async function pause(
  policy: RetryPolicy,
  attempt: number,
  asked: number | undefined,
  signal?: AbortSignal,
): Promise<void> {
  await sleep(delay(policy, attempt, asked), undefined, signal ? { signal } : {});
}
