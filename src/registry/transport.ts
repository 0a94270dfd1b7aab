// One HTTP exchange with a registry or its token service: connections, time-outs, and nothing about the protocol.
// node:http and node:https on purpose: Node's fetch parses with WebAssembly.

import * as http from 'node:http';
import * as https from 'node:https';
import { isLoopback } from './endpoint.ts';
import { RegistryError } from '../engine/errors.ts';

export interface Patience {
  /** Milliseconds until an answer's headers are there, connecting included. */
  answer: number;
  /** Milliseconds between two pieces of a body while somebody waits for the next. */
  idle: number;
}

export interface Request {
  method?: 'GET' | 'POST';
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal | undefined;
  /** False: any certificate will do. */
  verify?: boolean;
}

export interface Answer {
  url: URL;
  status: number;
  headers: http.IncomingHttpHeaders;
  body: http.IncomingMessage;
}

const patient: Patience = { answer: 30_000, idle: 30_000 };

export class Transport {
  readonly #patience: Patience;
  readonly #agents = new Map<string, http.Agent>();

  constructor(patience: Partial<Patience> = {}) {
    this.#patience = { ...patient, ...patience };
  }

  /** Rejects with the socket's own error, or one that says what was waited for. The body must be read or destroyed. */
  request(url: URL, { method = 'GET', headers = {}, body, signal, verify = true }: Request = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const request = (secure ? https : http).request(url, {
        method,
        agent: this.#agent(url, verify),
        headers: { 'User-Agent': 'kapsel', ...headers },
        signal,
      });
      const timer = setTimeout(() => {
        request.destroy(timeOut(`no answer within ${this.#patience.answer / 1000} s`));
      }, this.#patience.answer);
      request.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      request.on('response', (response) => {
        clearTimeout(timer);
        response.on('error', () => undefined); // Whoever reads the body sees it; nobody else must crash of it.
        resolve({ url, status: response.statusCode ?? 0, headers: response.headers, body: response });
      });
      request.end(body);
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

  #agent(url: URL, verify: boolean): http.Agent {
    const proxied = !isLoopback(url.host);
    const key = `${url.protocol} ${verify} ${proxied}`;
    let agent = this.#agents.get(key);
    if (!agent) {
      const options = {
        keepAlive: true,
        rejectUnauthorized: verify,
        // Node 24.5 and later honour HTTP_PROXY, HTTPS_PROXY and NO_PROXY; earlier ones ignore this.
        ...(proxied && { proxyEnv: process.env }),
      };
      agent = url.protocol === 'https:' ? new https.Agent(options) : new http.Agent(options);
      this.#agents.set(key, agent);
    }
    return agent;
  }
}

function timeOut(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' });
}
