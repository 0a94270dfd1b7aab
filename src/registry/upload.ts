// A blob on its way up (distribution-spec, "Pushing a blob in chunks"): a session is opened, filled, and closed with the digest.
// Filled by one PATCH as the bytes come, which every registry takes; in chunks where one asks for that or finds a request too large.
// After anything unexpected the registry is asked how far it has come, and the rest is sent.

import { createHash } from 'node:crypto';
import { AbortedError, ImageError } from '../engine/errors.ts';
import { isBusy, isPassing, retryAfter } from './retry.ts';
import type { Session } from './session.ts';
import type { Answer } from './transport.ts';

export interface BlobContent {
  /** All bytes from the first on; the same each time. Called again for a new try, unless `once`. */
  open: (signal: AbortSignal | undefined) => AsyncIterable<Uint8Array>;
  /** It cannot be had again: a connection that breaks ends the upload. */
  once?: boolean;
  /** `sha256:HEX` and bytes, where they are known before: checked. */
  digest?: string | undefined;
  size?: number | undefined;
  /** Bytes sent so far; may fall back when a connection breaks. */
  onBytes?: ((bytes: number) => void) | undefined;
}

/** Bytes of a chunk where a registry does not want larger ones: the memory that one upload takes. */
const usualChunk = 8 << 20;
/** A registry that asks for more than this a chunk gets its blob in one piece. */
const largestChunk = 64 << 20;
/** Milliseconds that taking an upload back may last. */
const farewell = 2_000;
const octets = { 'Content-Type': 'application/octet-stream' };

/** `path`: of the repository's uploads. False where the registry will not, or not for us. */
export async function mountBlob(
  session: Session,
  path: string,
  digest: string,
  from: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const query = new URLSearchParams({ mount: digest, from });
  const answer = await session.request(`${path}?${query}`, { method: 'POST', ...empty, deed: 'push', signal });
  answer.body.resume();
  // 202 has opened an upload that nobody will fill.
  if (answer.status === 202) await forget(session, session.lead(answer));
  return answer.status === 201;
}

const empty = { headers: { 'Content-Length': '0' } };

async function forget(session: Session, location: URL): Promise<void> {
  try {
    const signal = AbortSignal.timeout(farewell);
    const answer = await session.request(location, { method: 'DELETE', deed: 'push', attempts: 1, signal });
    answer.body.resume();
  } catch {
    // The registry forgets it by itself in time.
  }
}

/** The content once more from its start, counted and hashed. */
class Reading {
  readonly #bytes: AsyncIterator<Uint8Array>;
  readonly #hash = createHash('sha256');
  /** Bytes taken so far. */
  size = 0;

  constructor(bytes: AsyncIterable<Uint8Array>) {
    this.#bytes = bytes[Symbol.asyncIterator]();
  }

  async next(): Promise<Uint8Array | undefined> {
    const { done, value } = await this.#bytes.next();
    if (done) return undefined;
    this.size += value.length;
    this.#hash.update(value);
    return value;
  }

  digest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }

  async close(): Promise<void> {
    await this.#bytes.return?.();
  }
}

export class Upload {
  readonly #session: Session;
  readonly #base: string;
  readonly #content: BlobContent;
  readonly #signal: AbortSignal | undefined;
  /** Where the session is spoken to next: every answer may move it. */
  #location: URL | undefined;
  /** Bytes of a chunk; undefined: all in one. */
  #chunk: number | undefined;

  /** `base`: the repository's path, with its slash. */
  constructor(session: Session, base: string, content: BlobContent, signal: AbortSignal | undefined) {
    this.#session = session;
    this.#base = base;
    this.#content = content;
    this.#signal = signal;
  }

  async run(): Promise<{ digest: string; size: number }> {
    const { attempts } = this.#session.retries;
    try {
      await this.#begin();
      let offset = 0;
      let best = 0;
      for (let attempt = 1; ; attempt++) {
        let asked: number | undefined;
        const reading = new Reading(this.#content.open(this.#signal));
        try {
          await this.#fill(reading, offset);
          return await this.#finish(reading);
        } catch (error) {
          if (this.#signal?.aborted) throw new AbortedError();
          asked = error instanceof Interrupted ? error.asked : undefined;
          const isWorthIt = error instanceof Interrupted || isPassing(error);
          const isTooLong = (asked ?? 0) > this.#session.retries.patience;
          if (!isWorthIt || isTooLong || this.#content.once || attempt >= attempts) throw this.#failure(error);
        } finally {
          await reading.close();
        }
        await this.#session.pause(attempt + 1, asked, this.#signal);
        offset = await this.#resume();
        if (offset > best) attempt = 1;
        best = Math.max(best, offset);
      }
    } catch (error) {
      if (this.#location) await forget(this.#session, this.#location);
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const answer = await this.#request(`${this.#base}blobs/uploads/`, 'POST', empty.headers);
    if (answer.status !== 202) throw await this.#session.refusal(answer, 'push');
    this.#move(answer);
    const smallest = Number(answer.headers['oci-chunk-min-length']);
    if (smallest > 0 && smallest <= largestChunk) this.#chunk = Math.max(smallest, usualChunk);
  }

  /** Sends what comes after byte `offset`. */
  async #fill(reading: Reading, offset: number): Promise<void> {
    let ahead: Uint8Array | undefined = await skip(reading, offset);
    if (this.#chunk === undefined) {
      await this.#patch(this.#stream(reading, ahead), offset, this.#content.size);
      return;
    }
    while (ahead !== undefined) {
      const pieces: Uint8Array[] = [];
      let size = 0;
      while (ahead !== undefined && size < this.#chunk) {
        const piece: Uint8Array = ahead.subarray(0, this.#chunk - size);
        pieces.push(piece);
        size += piece.length;
        ahead = piece.length < ahead.length ? ahead.subarray(piece.length) : await reading.next();
      }
      await this.#patch(Buffer.concat(pieces, size), offset, offset + size);
      offset += size;
      this.#content.onBytes?.(offset);
    }
  }

  async *#stream(reading: Reading, ahead: Uint8Array | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    for (let piece = ahead; piece !== undefined; piece = await reading.next()) {
      yield piece;
      this.#content.onBytes?.(reading.size);
    }
  }

  /** Bytes `from` to `to`; unknown where the stream ends when it ends. */
  async #patch(body: Uint8Array | AsyncIterable<Uint8Array>, from: number, to: number | undefined): Promise<void> {
    if (to === from) return;
    let isTaken = false;
    const isPart = this.#chunk !== undefined || from > 0;
    const answer = await this.#session.request(this.#location!, {
      method: 'PATCH',
      headers: {
        ...octets,
        ...(to !== undefined && { 'Content-Length': String(to - from) }),
        // The first bytes of one piece need no range, and not every registry knows ranges.
        ...(isPart && to !== undefined && { 'Content-Range': `${from}-${to - 1}` }),
      },
      body: () => {
        // A registry that wants another token first has had some of the stream.
        if (isTaken && !(body instanceof Uint8Array)) throw new Interrupted();
        isTaken = true;
        return body;
      },
      deed: 'push',
      // What was half taken is not sent again from its beginning.
      raw: true,
      signal: this.#signal,
    });
    if (answer.status === 202 || answer.status === 204) {
      answer.body.resume();
      this.#move(answer);
      return;
    }
    if (isBusy(answer.status)) {
      answer.body.destroy();
      const asked = retryAfter(answer.headers);
      throw new Interrupted(this.#session.failures.busy(answer, asked), asked);
    }
    const refusal = await this.#session.refusal(answer, 'push');
    if (answer.status === 413 && this.#chunk === undefined) this.#chunk = usualChunk;
    else if (answer.status !== 416) throw refusal;
    throw new Interrupted(refusal);
  }

  async #finish(reading: Reading): Promise<{ digest: string; size: number }> {
    const size = reading.size;
    const digest = reading.digest();
    const { digest: promised = digest, size: length = size } = this.#content;
    if (digest !== promised || size !== length) {
      const message = `the blob to push is ${digest} of ${size} bytes, not ${promised} of ${length}`;
      throw new ImageError(digest === promised ? 'SIZE_MISMATCH' : 'DIGEST_MISMATCH', message);
    }
    const target = new URL(this.#location!);
    target.searchParams.set('digest', digest);
    const answer = await this.#request(target, 'PUT', { ...octets, ...empty.headers });
    if (answer.status === 201 || answer.status === 204) {
      answer.body.resume();
      this.#location = undefined;
      return { digest, size };
    }
    const refusal = await this.#session.refusal(answer, 'push');
    // The answer to a first PUT may have been lost: then the upload is over, and the blob there.
    if (answer.status === 404 && (await this.#isThere(digest))) return { digest, size };
    throw refusal;
  }

  async #isThere(digest: string): Promise<boolean> {
    const answer = await this.#request(`${this.#base}blobs/${digest}`, 'HEAD', {});
    answer.body.resume();
    return answer.status === 200;
  }

  /** How many bytes the registry has; 0 where it has forgotten the session and there is a new one. */
  async #resume(): Promise<number> {
    const answer = await this.#request(this.#location!, 'GET', {});
    const range = /^(?:bytes[= ])?0-(-?\d+)$/.exec(String(answer.headers.range ?? ''))?.[1];
    answer.body.resume();
    if (answer.status === 204 || answer.status === 202 || answer.status === 200) {
      this.#move(answer);
      // "0-0" is one byte by the specification, and none by Docker's registry: that is not worth a guess.
      const end = Number(range ?? 0);
      if (end > 0) return end + 1;
      await forget(this.#session, this.#location!);
    } else if (answer.status !== 404) {
      throw await this.#session.refusal(answer, 'push');
    }
    this.#location = undefined;
    await this.#begin();
    return 0;
  }

  #request(
    target: string | URL,
    method: 'GET' | 'HEAD' | 'POST' | 'PUT',
    headers: Record<string, string>,
  ): Promise<Answer> {
    return this.#session.request(target, { method, headers, deed: 'push', signal: this.#signal });
  }

  #move(answer: Answer): void {
    if (answer.headers.location !== undefined || this.#location === undefined)
      this.#location = this.#session.lead(answer);
  }

  #failure(error: unknown): Error {
    return this.#session.failures.unreachable(error instanceof Interrupted ? (error.cause ?? error) : error, 'push');
  }
}

/** The registry wants the rest later, or in another way. */
class Interrupted extends Error {
  /** Milliseconds to wait. */
  readonly asked: number | undefined;

  constructor(cause?: Error, asked?: number) {
    super('the registry refused a new token', { cause });
    this.asked = asked;
  }
}

/** Takes the first bytes away; gives what is left of the piece that goes beyond them. */
async function skip(reading: Reading, bytes: number): Promise<Uint8Array | undefined> {
  for (;;) {
    const piece = await reading.next();
    if (piece === undefined) return undefined;
    if (reading.size > bytes) return piece.subarray(piece.length - (reading.size - bytes));
  }
}
