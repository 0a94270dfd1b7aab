// A token service as Docker's specification has it (distribution: spec/auth/token): users, their rights, and JWTs signed
// with a key that the registry trusts.

import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Certificate } from './certificates.ts';

export interface TokenRules {
  users: Record<string, string>;
  /** The actions that a user (undefined: nobody) is granted of those asked for. */
  grant: (user: string | undefined, type: string, name: string, actions: string[]) => string[];
  /** Seconds that a token is good for. */
  lifetime?: number;
}

export class TokenServer {
  static readonly service = 'the tests';
  static readonly issuer = 'the tests';
  readonly requests: { user: string | undefined; scopes: string[] }[] = [];
  readonly #rules: TokenRules;
  readonly #identity: Certificate;
  readonly #server: Server;

  constructor(identity: Certificate, rules: TokenRules) {
    this.#identity = identity;
    this.#rules = rules;
    this.#server = createServer((request, response) => {
      this.#token(request).then(
        (token) => (token === undefined ? response.writeHead(401).end() : response.end(JSON.stringify({ token }))),
        () => response.destroy(),
      );
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get realm(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/token`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Undefined for a user who is unknown. */
  async #token(request: IncomingMessage): Promise<string | undefined> {
    const encoded = /^Basic (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    const [user, password] = encoded === undefined ? [] : Buffer.from(encoded, 'base64').toString().split(':');
    if (user !== undefined && this.#rules.users[user] !== password) return undefined;
    const scopes = new URL(request.url ?? '', this.realm).searchParams.getAll('scope');
    this.requests.push({ user, scopes });
    const access = scopes.flatMap((scope) => {
      const [type = '', name = '', asked = ''] = /^(\w+):(.+):([^:]+)$/.exec(scope)?.slice(1) ?? [];
      return [{ type, name, actions: this.#rules.grant(user, type, name, asked.split(',')) }];
    });
    const chain = new X509Certificate(await readFile(this.#identity.certificate)).raw.toString('base64');
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: TokenServer.issuer,
      sub: user ?? '',
      aud: TokenServer.service,
      exp: now + (this.#rules.lifetime ?? 300),
      nbf: now - 10,
      iat: now,
      jti: String(this.requests.length),
      access,
    };
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${part({ typ: 'JWT', alg: 'ES256', x5c: [chain] })}.${part(claims)}`;
    const key = createPrivateKey(await readFile(this.#identity.key));
    const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }
}
