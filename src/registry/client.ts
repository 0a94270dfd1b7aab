// The way into the registry rooms: one client an engine, with its connections, credentials and exceptions.

import { findCredentials } from './credentials.ts';
import { endpoints } from './endpoint.ts';
import type { Reference } from './reference.ts';
import { Repository } from './repository.ts';
import { defaultRetries, type RetryPolicy } from './retry.ts';
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
    const { insecure, env, retries } = this.#options;
    return new Repository({
      reference,
      endpoints: endpoints(reference.registry, new Set(insecure)),
      transport: this.#transport,
      retries: { ...defaultRetries, ...retries },
      credentials: () => findCredentials(reference.registry, reference.repository, env),
    });
  }

  /** Ends idle connections, so that nothing keeps the process. */
  close(): void {
    this.#transport.close();
  }
}
