// Turns a 401's challenges into the Authorization header of the next try, for one repository of one registry.
// The token service's protocol is Docker's (docs: spec/auth/token); credentials come from credentials.ts.

import { AbortedError, RegistryError } from '../engine/errors.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { Credentials } from './credentials.ts';
import { mayLeadTo } from './endpoint.ts';
import type { Transport } from './transport.ts';

const tokenLimit = 1 << 20;

export interface AuthorizerOptions {
  /** As errors name it: `127.0.0.1:5000/debian`. */
  name: string;
  /** `repository:library/debian:pull`. */
  scope: string;
  transport: Transport;
  credentials: () => Promise<Credentials | undefined>;
}

export class Authorizer {
  readonly #options: AuthorizerOptions;
  #header: string | undefined;
  #pending: Promise<boolean> | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** What to send now. */
  get header(): string | undefined {
    return this.#header;
  }

  /** Whether credentials took part: a refusal then means something else. */
  loggedIn = false;

  /**
   * Makes a header for the challenge that `used` met with. False where there is nothing more to offer.
   * Requests refused at the same time ask for one token.
   */
  async answer(
    used: string | undefined,
    from: URL,
    challenge: string,
    verify: boolean,
    signal?: AbortSignal,
  ): Promise<boolean> {
    if (this.#header !== used) return true;
    this.#pending ??= this.#renew(from, parseChallenges(challenge), verify, signal).finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #renew(from: URL, challenges: Challenge[], verify: boolean, signal?: AbortSignal): Promise<boolean> {
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const basic = challenges.find(({ scheme }) => scheme === 'basic');
    const credentials = await this.#options.credentials();
    const before = this.#header;
    this.loggedIn = credentials !== undefined;
    if (bearer?.parameters.realm) {
      const token =
        credentials?.kind === 'bearer'
          ? credentials.token
          : await this.#token(from, bearer, credentials, verify, signal);
      this.#header = `Bearer ${token}`;
    } else if (basic && credentials?.kind === 'password') {
      this.#header = basicHeader(credentials);
    }
    return this.#header !== before;
  }

  async #token(
    from: URL,
    { parameters }: Challenge,
    credentials: Credentials | undefined,
    verify: boolean,
    signal?: AbortSignal,
  ): Promise<string> {
    const { name, transport, scope } = this.#options;
    const realm = URL.canParse(parameters.realm ?? '') ? new URL(parameters.realm!) : undefined;
    if (!realm || !mayLeadTo(from, realm)) {
      throw new RegistryError(
        'REGISTRY_PROTOCOL',
        `the registry of ${name} names ${JSON.stringify(parameters.realm)} as its token service, which is no place for credentials`,
      );
    }
    const query = new URLSearchParams();
    if (parameters.service) query.set('service', parameters.service);
    query.set('scope', parameters.scope ?? scope);
    let answer;
    try {
      if (credentials?.kind === 'identity') {
        query.set('grant_type', 'refresh_token');
        query.set('refresh_token', credentials.token);
        query.set('client_id', 'kapsel');
        const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
        answer = await transport.request(realm, { method: 'POST', headers, body: query.toString(), signal, verify });
      } else {
        for (const [key, value] of query) realm.searchParams.set(key, value);
        const headers: Record<string, string> = {};
        if (credentials?.kind === 'password') headers.Authorization = basicHeader(credentials);
        answer = await transport.request(realm, { headers, signal, verify });
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
