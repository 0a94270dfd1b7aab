// The way into the registry rooms: one client an engine, with its connections, credentials and exceptions.

import { RegistryError } from '../engine/errors.ts';
import { certsDirectories, hostsOf } from './certs-d.ts';
import { type Credentials, findCredentials } from './credentials.ts';
import type { Host } from './host.ts';
import { pages } from './pages.ts';
import { familiarName, type Reference } from './reference.ts';
import { Repository } from './repository.ts';
import { defaultRetries, type RetryPolicy } from './retry.ts';
import { Session } from './session.ts';
import { type Patience, Transport } from './transport.ts';

export interface RegistryOptions {
  /** `host[:port]` of registries that may speak plain http or show an unknown certificate; KAPSEL_INSECURE_REGISTRIES names more. */
  insecure?: readonly string[] | undefined;
  /** Where HOME, DOCKER_CONFIG, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR and XDG_CONFIG_HOME are looked up. */
  env?: NodeJS.ProcessEnv | undefined;
  /** Where HOST/hosts.toml and certificates are looked for, instead of the machine's places. */
  certsDirectories?: readonly string[] | undefined;
  patience?: Partial<Patience> | undefined;
  retries?: Partial<RetryPolicy> | undefined;
}

/** How a registry is to be spoken to, this time. */
export interface Access {
  /** False: plain http or an unknown certificate will do. True: not even on this machine. */
  tlsVerify?: boolean | undefined;
  /** Where credentials are looked for, instead of Docker's and containers' places. */
  authFile?: string | undefined;
}

export class RegistryClient {
  readonly #options: RegistryOptions;
  readonly #transport: Transport;

  constructor(options: RegistryOptions = {}) {
    this.#options = options;
    this.#transport = new Transport(options.patience);
  }

  repository(reference: Reference, access: Access = {}): Repository {
    const name = familiarName(reference);
    const scopes = [`repository:${reference.repository}:pull`];
    const sessions = async (): Promise<Session[]> => {
      const hosts = await this.#hosts(reference.registry, access);
      return hosts.map((host) => this.#session(host, name, scopes, this.#stored(host, reference.repository, access)));
    };
    return new Repository({ reference, sessions });
  }

  /** The names of a registry's repositories; most public registries keep them to themselves. */
  async *catalogue(
    registry: string,
    access: Access & { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<string> {
    const host = (await this.#hosts(registry, access)).at(-1)!;
    const session = this.#session(host, registry, ['registry:catalog:*'], this.#stored(host, '', access));
    yield* pages(session, '_catalog', 'repositories', { deed: 'search', signal: access.signal });
  }

  /** Asks the registry whether it knows these; rejects where it does not. */
  async login(
    registry: string,
    credentials: Credentials,
    access: Access & { signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const host = (await this.#hosts(registry, access)).at(-1)!;
    const session = this.#session(host, registry, [], () => Promise.resolve(credentials));
    try {
      const answer = await session.request('', { deed: 'login', signal: access.signal });
      if (answer.status !== 200) throw await session.refusal(answer, 'login');
      answer.body.resume();
    } catch (error) {
      if (!['REGISTRY_UNAUTHORIZED', 'REGISTRY_DENIED'].includes((error as RegistryError).code)) throw error;
      throw new RegistryError('REGISTRY_UNAUTHORIZED', `login to ${registry} failed: invalid username/password`);
    }
  }

  /** Ends idle connections, so that nothing keeps the process. */
  close(): void {
    this.#transport.close();
  }

  async #hosts(registry: string, { tlsVerify }: Access): Promise<Host[]> {
    const { insecure = [], env = process.env } = this.#options;
    const named = [...insecure, ...(env.KAPSEL_INSECURE_REGISTRIES ?? '').split(',').map((name) => name.trim())];
    const { certsDirectories: directories = certsDirectories(env) } = this.#options;
    return await hostsOf(registry, directories, tlsVerify ?? (named.includes(registry) ? false : undefined));
  }

  #stored(host: Host, repository: string, { authFile }: Access): () => Promise<Credentials | undefined> {
    return () => findCredentials(host.name, repository, { env: this.#options.env, authFile });
  }

  #session(host: Host, name: string, scopes: string[], credentials: () => Promise<Credentials | undefined>): Session {
    return new Session({
      host,
      name,
      scopes,
      transport: this.#transport,
      retries: { ...defaultRetries, ...this.#options.retries },
      credentials,
    });
  }
}
