// Turns a 401's challenges into the Authorization header of the next try, for one repository of one registry.
// The token service's protocol is Docker's (docs: spec/auth/token); credentials come from credentials.ts.

import { AbortedError, RegistryError } from '../engine/errors.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { Credentials } from './credentials.ts';
import { mayLeadTo, type Tls } from './endpoint.ts';
import type { Transport } from './transport.ts';

const tokenLimit = 1 << 20;

export interface AuthorizerOptions {
  /** As errors name it: `127.0.0.1:5000/debian`. */
  name: string;
  /** What is needed from the beginning: `repository:library/debian:pull`. */
  scopes: readonly string[];
  transport: Transport;
  credentials: () => Promise<Credentials | undefined>;
}

/** There are none; nobody has said anything about them; a token service took them. */
export type Standing = 'anonymous' | 'presented' | 'accepted';

export class Authorizer {
  readonly #options: AuthorizerOptions;
  #header: string | undefined;
  #pending: Promise<boolean> | undefined;
  readonly #scopes: Set<string>;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    this.#scopes = new Set(options.scopes);
  }

  /** Asks for this too from the next token on: a registry that wants it now says so. */
  need(scope: string): void {
    this.#scopes.add(scope);
  }

  /** What to send now. */
  get header(): string | undefined {
    return this.#header;
  }

  /** What the stored credentials have been good for, which decides what a refusal means. */
  standing: Standing = 'anonymous';

  /**
   * Makes a header for the challenge that `used` met with. False where there is nothing more to offer.
   * Requests refused at the same time ask for one token.
   */
  async answer(
    used: string | undefined,
    from: URL,
    challenge: string,
    tls: Tls,
    signal?: AbortSignal,
  ): Promise<boolean> {
    if (this.#header !== used) return true;
    this.#pending ??= this.#renew(from, parseChallenges(challenge), tls, signal).finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #renew(from: URL, challenges: Challenge[], tls: Tls, signal?: AbortSignal): Promise<boolean> {
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const basic = challenges.find(({ scheme }) => scheme === 'basic');
    const credentials = await this.#options.credentials();
    const before = this.#header;
    this.standing = credentials ? 'presented' : 'anonymous';
    if (bearer?.parameters.realm) {
      const token =
        credentials?.kind === 'bearer' ? credentials.token : await this.#token(from, bearer, credentials, tls, signal);
      this.#header = `Bearer ${token}`;
      if (credentials && credentials.kind !== 'bearer') this.standing = 'accepted';
    } else if (basic && credentials?.kind === 'password') {
      this.#header = basicHeader(credentials);
    }
    return this.#header !== before;
  }

  async #token(
    from: URL,
    { parameters }: Challenge,
    credentials: Credentials | undefined,
    tls: Tls,
    signal?: AbortSignal,
  ): Promise<string> {
    const { name, transport } = this.#options;
    const realm = URL.canParse(parameters.realm ?? '') ? new URL(parameters.realm!) : undefined;
    if (!realm || !mayLeadTo(from, realm)) {
      throw new RegistryError(
        'REGISTRY_PROTOCOL',
        `the registry of ${name} names ${JSON.stringify(parameters.realm)} as its token service, which is no place for credentials`,
      );
    }
    const query = new URLSearchParams();
    if (parameters.service) query.set('service', parameters.service);
    const scopes = merged([...this.#scopes, ...(parameters.scope?.split(' ') ?? [])]);
    let answer;
    try {
      if (credentials?.kind === 'identity') {
        if (scopes.length > 0) query.set('scope', scopes.join(' '));
        query.set('grant_type', 'refresh_token');
        query.set('refresh_token', credentials.token);
        query.set('client_id', 'kapsel');
        const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
        answer = await transport.request(realm, { method: 'POST', headers, body: query.toString(), signal, tls });
      } else {
        for (const scope of scopes) query.append('scope', scope);
        for (const [key, value] of query) realm.searchParams.append(key, value);
        const headers: Record<string, string> = {};
        if (credentials?.kind === 'password') headers.Authorization = basicHeader(credentials);
        answer = await transport.request(realm, { headers, signal, tls });
      }
      const text = (await transport.read(answer, tokenLimit, 'the token')).toString('utf8');
      if (answer.status === 200) return tokenOf(text, name);
    } catch (error) {
      if (signal?.aborted) throw new AbortedError();
      if (error instanceof RegistryError) throw error;
      const message = `cannot reach ${realm.host}, the token service of ${name}: ${(error as Error).message}`;
      throw Object.assign(new RegistryError('REGISTRY_UNREACHABLE', message, { cause: error }), { passing: error });
    }
    throw new RegistryError(
      answer.status === 401 || answer.status === 403 ? 'REGISTRY_UNAUTHORIZED' : 'REGISTRY_PROTOCOL',
      credentials
        ? `${realm.host} refused the stored credentials for ${name} (status ${answer.status}): log in again`
        : `${realm.host} gave no token for ${name} (status ${answer.status})`,
    );
  }
}

/** `TYPE:NAME:ACTION[,ACTION]`, each name once, with all its actions (distribution: spec/auth/scope). */
function merged(scopes: readonly string[]): string[] {
  const actions = new Map<string, Set<string>>();
  for (const scope of scopes) {
    const colon = scope.lastIndexOf(':');
    if (colon === -1) continue;
    const name = scope.slice(0, colon);
    const known = actions.get(name) ?? new Set();
    actions.set(name, known);
    for (const action of scope.slice(colon + 1).split(',')) known.add(action);
  }
  return [...actions].map(([name, known]) => `${name}:${[...known].join(',')}`);
}

function tokenOf(text: string, name: string): string {
  let document: { token?: unknown; access_token?: unknown } | undefined;
  try {
    document = JSON.parse(text) as typeof document;
  } catch {
    // Said below.
  }
  const token = document?.token || document?.access_token;
  // A line break would let the token service write headers of our requests; Node refuses it too, with a stack trace.
  if (typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new RegistryError('REGISTRY_PROTOCOL', `the token service of ${name} answered without a token`);
}

function basicHeader({ username, password }: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
