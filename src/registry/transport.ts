// One HTTP exchange with a registry or its token service: connections, time-outs, and nothing about the protocol.
// node:http and node:https on purpose: Node's fetch parses with WebAssembly. The latter only once it is needed: with what it
// stands on it takes ten milliseconds to load.

import * as http from 'node:http';
import type * as https from 'node:https';
import type { LookupFunction } from 'node:net';
import type * as tls from 'node:tls';
import { checked, isLoopback, type Tls } from './endpoint.ts';
import { RegistryError } from '../engine/errors.ts';

export interface Patience {
  /** Milliseconds until an answer's headers are there, connecting included, after the last byte of the request. */
  answer: number;
  /** Milliseconds between two pieces of a body while somebody waits for the next. */
  idle: number;
}

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface Request {
  method?: Method | undefined;
  headers?: Record<string, string>;
  /** A stream's length goes into the headers where it is known. */
  body?: string | Uint8Array | AsyncIterable<Uint8Array> | undefined;
  signal?: AbortSignal | undefined;
  tls?: Tls;
  /** Instead of the machine's; no proxy is asked then. */
  lookup?: LookupFunction | undefined;
}

export interface Answer {
  url: URL;
  status: number;
  headers: http.IncomingHttpHeaders;
  body: http.IncomingMessage;
}

/** OpenSSL's words for a certificate of an authority that is not known. */
const unknownIssuers = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
]);
const patient: Patience = { answer: 30_000, idle: 30_000 };

export class Transport {
  readonly #patience: Patience;
  readonly #agents = new Map<string, http.Agent>();
  /** The authorities of the machine besides Node's own; read when a certificate is of none of those. */
  #machine: Tls | undefined;

  constructor(patience: Partial<Patience> = {}) {
    this.#patience = { ...patient, ...patience };
  }

  /** Rejects with the socket's own error, or one that says what was waited for. The body must be read or destroyed. */
  async request(url: URL, request: Request = {}): Promise<Answer> {
    const { tls: identity = checked, body } = request;
    if (identity !== checked) return await this.#exchange(url, request, identity);
    try {
      return await this.#exchange(url, request, this.#machine ?? checked);
    } catch (error) {
      const isStream = typeof body === 'object' && !(body instanceof Uint8Array);
      if (this.#machine || isStream || !unknownIssuers.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      this.#machine = { verify: true, ca: [...certificates('system')] };
      return await this.#exchange(url, request, this.#machine);
    }
  }

  #exchange(url: URL, { method = 'GET', headers = {}, body, signal, lookup }: Request, identity: Tls): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const request = (secure ? encrypted() : http).request(url, {
        method,
        agent: this.#agent(url, identity, lookup === undefined),
        ...(lookup && { lookup }),
        headers: { 'User-Agent': 'kapsel', ...headers },
        signal,
      });
      let timer: NodeJS.Timeout | undefined;
      const awaitAnswer = (): void => {
        timer = setTimeout(() => {
          request.destroy(timeOut(`no answer within ${this.#patience.answer / 1000} s`));
        }, this.#patience.answer);
      };
      request.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      request.on('response', (response) => {
        clearTimeout(timer);
        response.on('error', () => undefined); // Whoever reads the body sees it; nobody else must crash of it.
        // An answer before the end of the question: the connection is of no use for another.
        response.on('end', () => {
          if (!request.writableEnded) request.destroy();
        });
        resolve({ url, status: response.statusCode ?? 0, headers: response.headers, body: response });
      });
      if (typeof body === 'object' && !(body instanceof Uint8Array)) {
        this.#send(request, body).then(
          (sent) => sent && awaitAnswer(),
          (error: Error) => {
            reject(error);
            request.destroy();
          },
        );
      } else {
        awaitAnswer();
        request.end(body);
      }
    });
  }

  /** A body as it comes. What its source takes does not count as the server's silence. False where nobody wants the rest. */
  async #send(request: http.ClientRequest, body: AsyncIterable<Uint8Array>): Promise<boolean> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    request.once('response', over).once('close', over);
    for await (const piece of body) {
      if (isOver) return false;
      if (!request.write(piece)) await this.#drained(request);
    }
    if (!isOver) request.end();
    return !isOver;
  }

  /** Resolves when there is room for more, or when none will ever be needed. */
  #drained(request: http.ClientRequest): Promise<void> {
    return new Promise((resolve) => {
      const stuck = setTimeout(() => {
        request.destroy(timeOut(`nothing was taken for ${this.#patience.idle / 1000} s`));
      }, this.#patience.idle);
      const done = (): void => {
        clearTimeout(stuck);
        for (const event of ['drain', 'response', 'close']) request.off(event, done);
        resolve();
      };
      for (const event of ['drain', 'response', 'close']) request.on(event, done);
      if (request.destroyed) done();
    });
  }

  /** The body piece by piece. Only waiting for the network counts as idleness, not what the reader does in between. */
  async *pieces(answer: Answer): AsyncGenerator<Buffer, void, undefined> {
    const { body } = answer;
    let waiting = true;
    const timer = setTimeout(() => {
      if (waiting) body.destroy(timeOut(`nothing came for ${this.#patience.idle / 1000} s`));
      else timer.refresh();
    }, this.#patience.idle);
    try {
      for await (const piece of body) {
        waiting = false;
        yield piece as Buffer;
        waiting = true;
        timer.refresh();
      }
    } finally {
      clearTimeout(timer);
      body.destroy();
    }
  }

  /** A body that must be small. */
  async read(answer: Answer, limit: number, what: string): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let size = 0;
    for await (const piece of this.pieces(answer)) {
      size += piece.length;
      if (size > limit) {
        throw new RegistryError('REGISTRY_PROTOCOL', `${what} from ${answer.url.host} is larger than ${limit} bytes`);
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces, size);
  }

  /** Lets the process end, and whoever hangs on a connection fail. */
  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  #agent(url: URL, identity: Tls, shared: boolean): http.Agent {
    const proxied = shared && !isLoopback(url.host);
    const { verify, ca, cert } = identity;
    const key = [url.protocol, shared, proxied, verify, ...(ca ?? []), cert].join(' ');
    let agent = this.#agents.get(key);
    if (!agent) {
      // Node 24.5 and later honour HTTP_PROXY, HTTPS_PROXY and NO_PROXY; earlier ones ignore this.
      const options = { keepAlive: true, ...(proxied && { proxyEnv: process.env }) };
      agent =
        url.protocol === 'https:'
          ? new (encrypted().Agent)({ ...options, ...secureOptions(identity) })
          : new http.Agent(options);
      this.#agents.set(key, agent);
    }
    return agent;
  }
}

function encrypted(): typeof https {
  return process.getBuiltinModule('node:https');
}

/** An authority of the user's is trusted besides the known ones, not instead of them. */
function secureOptions({ verify, ca, cert, key }: Tls): https.AgentOptions {
  return {
    rejectUnauthorized: verify,
    ...(ca && { ca: [...certificates('default'), ...ca] }),
    ...(cert && { cert, key }),
  };
}

/** Node before 22.15 has only its own list. */
function certificates(which: 'default' | 'system'): readonly string[] {
  const { getCACertificates, rootCertificates } = process.getBuiltinModule('node:tls') as Partial<typeof tls>;
  return getCACertificates?.(which) ?? rootCertificates ?? [];
}

function timeOut(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' });
}
