// The way into the registry rooms: one client an engine, with its connections, credentials and exceptions.

import { findCredentials } from './credentials.ts';
import { directly, type Host } from './host.ts';
import { pages } from './pages.ts';
import { familiarName, type Reference } from './reference.ts';
import { Repository } from './repository.ts';
import { defaultRetries, type RetryPolicy } from './retry.ts';
import { Session } from './session.ts';
import { type Patience, Transport } from './transport.ts';

export interface RegistryOptions {
  /** `host[:port]` of registries that may speak plain http or show an unknown certificate. */
  insecure?: readonly string[] | undefined;
  /** Where HOME, DOCKER_CONFIG, REGISTRY_AUTH_FILE and XDG_RUNTIME_DIR are looked up. */
  env?: NodeJS.ProcessEnv | undefined;
  patience?: Partial<Patience> | undefined;
  retries?: Partial<RetryPolicy> | undefined;
}

export class RegistryClient {
  readonly #options: RegistryOptions;
  readonly #transport: Transport;

  constructor(options: RegistryOptions = {}) {
    this.#options = options;
    this.#transport = new Transport(options.patience);
  }

  repository(reference: Reference): Repository {
    const name = familiarName(reference);
    const scopes = [`repository:${reference.repository}:pull`];
    const sessions = async (): Promise<Session[]> => {
      const hosts = this.#hosts(reference.registry);
      return hosts.map((host) => this.#session(host, name, scopes, reference.repository));
    };
    return new Repository({ reference, sessions });
  }

  /** The names of a registry's repositories; most public registries keep them to themselves. */
  async *catalogue(registry: string, signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
    const session = this.#session(this.#hosts(registry).at(-1)!, registry, ['registry:catalog:*'], '');
    yield* pages(session, '_catalog', 'repositories', { deed: 'search', signal });
  }

  /** Ends idle connections, so that nothing keeps the process. */
  close(): void {
    this.#transport.close();
  }

  #hosts(registry: string): Host[] {
    return [directly(registry, this.#options.insecure?.includes(registry) ?? false)];
  }

  #session(host: Host, name: string, scopes: string[], repository: string): Session {
    return new Session({
      host,
      name,
      scopes,
      transport: this.#transport,
      retries: { ...defaultRetries, ...this.#options.retries },
      credentials: () => findCredentials(host.name, repository, this.#options.env),
    });
  }
}
