// Requests to one host with everything around them: which of its endpoints speaks, logging in, redirects, tries and waits.
// Credentials go to the host they are stored for, and to nobody else.

import { AbortedError } from '../engine/errors.ts';
import { Authorizer } from './authorizer.ts';
import type { Credentials } from './credentials.ts';
import { type Endpoint, mayLeadTo } from './endpoint.ts';
import { type Deed, Failures } from './failures.ts';
import type { Host } from './host.ts';
import { isBusy, isPassing, pause, retryAfter, type RetryPolicy } from './retry.ts';
import type { Answer, Method, Transport } from './transport.ts';

export interface SessionOptions {
  host: Host;
  /** As errors name what is asked for: `127.0.0.1:5000/debian`. */
  name: string;
  /** `repository:library/debian:pull`. */
  scopes: readonly string[];
  transport: Transport;
  retries: RetryPolicy;
  credentials: () => Promise<Credentials | undefined>;
}

export interface Exchange {
  method?: Method;
  headers?: Record<string, string>;
  /** Called for every try. */
  body?: () => string | Uint8Array | AsyncIterable<Uint8Array>;
  /** What all this is for; `pull` by default. */
  deed?: Deed | undefined;
  /** Tries in all, where not as many as usual. */
  attempts?: number | undefined;
  /** Whatever comes is for the caller, busy answers and broken connections too. */
  raw?: boolean;
  signal?: AbortSignal | undefined;
  /** Takes part in the tries: a connection that breaks in it is like one that breaks before. */
  read?: (answer: Answer) => Promise<void>;
}

/** Beyond this a registry's complaint is not read. */
const complaintLimit = 64 << 10;
const redirects = new Set([301, 302, 303, 307, 308]);
const redirectLimit = 5;

export class Session {
  readonly transport: Transport;
  readonly retries: RetryPolicy;
  readonly failures: Failures;
  readonly host: Host;
  readonly #authorizer: Authorizer;
  #endpoint: Endpoint | undefined;

  constructor({ host, name, scopes, transport, retries, credentials }: SessionOptions) {
    this.transport = transport;
    this.retries = retries;
    this.host = host;
    this.failures = new Failures(host.name, name);
    if (host.endpoints.length === 1) this.#endpoint = host.endpoints[0];
    this.#authorizer = new Authorizer({ name, scopes, transport, credentials });
  }

  /** Asks for this scope too, should the host want a token with it. */
  need(scope: string): void {
    this.#authorizer.need(scope);
  }

  /** `target`: a path below the endpoint's root, or an address that an earlier answer gave. */
  async request(target: string | URL, exchange: Exchange = {}): Promise<Answer> {
    const { deed = 'pull', signal, read, raw = false, attempts = this.retries.attempts } = exchange;
    if (raw) return await this.#authorized(target, exchange);
    for (let attempt = 1; ; attempt++) {
      let asked: number | undefined;
      try {
        const answer = await this.#authorized(target, exchange);
        if (!isBusy(answer.status)) {
          await read?.(answer);
          return answer;
        }
        answer.body.destroy();
        asked = retryAfter(answer.headers);
        if (attempt >= attempts || (asked ?? 0) > this.retries.patience) throw this.failures.busy(answer, asked);
      } catch (error) {
        if (signal?.aborted) throw new AbortedError();
        const cause = (error as { passing?: unknown }).passing ?? error;
        if (!isPassing(cause) || attempt >= attempts) throw this.failures.unreachable(error, deed);
      }
      await this.pause(attempt + 1, asked, signal);
    }
  }

  /** A whole document, with the answer that brought it. */
  async document(
    target: string | URL,
    limit: number,
    what: string,
    exchange: Exchange = {},
  ): Promise<{ answer: Answer; body: Buffer }> {
    let body: Buffer = Buffer.alloc(0);
    const read = async (opened: Answer): Promise<void> => {
      body = await this.transport.read(opened, limit, what);
    };
    const answer = await this.request(target, { ...exchange, read });
    return { answer, body };
  }

  /** Waits before try number `attempt`. */
  async pause(attempt: number, asked: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    try {
      await pause(this.retries, attempt, asked, signal);
    } catch {
      throw new AbortedError();
    }
  }

  /** The error that an answer is; takes the rest of it. */
  async refusal(answer: Answer, deed: Deed, missing?: string): Promise<Error> {
    const body = await this.transport.read(answer, complaintLimit, 'a refusal').catch(() => Buffer.alloc(0));
    return this.refusalOf(answer, body, deed, missing);
  }

  /** The same, of an answer that has been read. */
  refusalOf(answer: Answer, body: Buffer, deed: Deed, missing?: string): Error {
    return this.failures.refusal(answer, body.toString('utf8'), deed, this.#authorizer.standing, missing);
  }

  /** An address in an answer, where the host may send us. */
  lead(answer: Answer): URL {
    const location = answer.headers.location ?? '';
    const next = URL.canParse(location, answer.url.href) ? new URL(location, answer.url) : undefined;
    if (location !== '' && next && mayLeadTo(answer.url, next)) return next;
    throw this.failures.protocol(`redirects to ${JSON.stringify(location)}, where kapsel does not go`);
  }

  /** Logs in as often as the host asks for something new: at most for a first token and for one of more scope. */
  async #authorized(target: string | URL, exchange: Exchange): Promise<Answer> {
    this.#endpoint ??= await this.#probe(exchange.signal);
    const { root, tls } = this.#endpoint;
    const home = new URL(root);
    const url = typeof target === 'string' ? new URL(`${root}/${target}`) : target;
    if (typeof target === 'string' && this.host.namespace !== undefined) {
      url.searchParams.set('ns', this.host.namespace);
    }
    const isHome = url.origin === home.origin;
    for (let round = 0; ; round++) {
      const authorization = this.#authorizer.header;
      const headers = {
        ...(isHome && this.host.headers),
        ...exchange.headers,
        ...(isHome && authorization !== undefined && { Authorization: authorization }),
      };
      const answer = await this.#follow(url, headers, exchange);
      const challenge = answer.headers['www-authenticate'];
      // A 401 from where a redirect led is not the registry's: it gets no credentials.
      if (answer.status !== 401 || challenge === undefined || round === 2 || answer.url.origin !== home.origin)
        return answer;
      if (!(await this.#authorizer.answer(authorization, url, challenge, tls, exchange.signal))) return answer;
      answer.body.destroy();
    }
  }

  /** Only what reads follows redirects: no registry sends an upload elsewhere but by Location. */
  async #follow(
    start: URL,
    headers: Record<string, string>,
    { method = 'GET', body, signal }: Exchange,
  ): Promise<Answer> {
    const { root, tls } = this.#endpoint!;
    const home = new URL(root).host;
    const follows = method === 'GET' || method === 'HEAD';
    let url = start;
    let sent = headers;
    for (let hop = 0; hop <= redirectLimit; hop++) {
      const answer = await this.transport.request(url, {
        method,
        headers: sent,
        body: body?.(),
        signal,
        ...(url.host === home && { tls }),
      });
      if (!follows || !redirects.has(answer.status) || answer.headers.location === undefined) return answer;
      answer.body.destroy();
      const next = this.lead(answer);
      if (next.origin !== url.origin) sent = this.#stranger(sent);
      url = next;
    }
    throw this.failures.protocol(`redirects more than ${redirectLimit} times`);
  }

  /** The headers without what is for the host alone. */
  #stranger(headers: Record<string, string>): Record<string, string> {
    const secret = new Set(['authorization', ...Object.keys(this.host.headers).map((name) => name.toLowerCase())]);
    return Object.fromEntries(Object.entries(headers).filter(([name]) => !secret.has(name.toLowerCase())));
  }

  /** Finds out which of several endpoints is spoken. */
  async #probe(signal: AbortSignal | undefined): Promise<Endpoint> {
    const [only, ...others] = this.host.endpoints;
    if (only && others.length === 0) return only;
    let failure: unknown;
    for (const endpoint of this.host.endpoints) {
      try {
        const url = new URL(`${endpoint.root}/`);
        const answer = await this.transport.request(url, { headers: this.host.headers, tls: endpoint.tls, signal });
        answer.body.resume();
        // A TLS server answers plain http with 400.
        if (answer.status !== 400) return endpoint;
        failure = this.failures.protocol('answers 400');
      } catch (error) {
        if (signal?.aborted) throw error;
        failure = error;
      }
    }
    throw failure;
  }
}
