// What is done with a registry as a whole: logging in and out, and looking for what it has.
// Loaded by its first use: a container starts without any of this.

import type { Access, RegistryClient, RegistryOptions } from '../registry/client.ts';
import type { Kept } from '../registry/credentials.ts';

export type { Access, Kept };

export interface Login extends Access {
  username: string;
  password: string;
  signal?: AbortSignal | undefined;
}

export interface SearchOptions extends Access {
  /** No more than so many. */
  limit?: number | undefined;
  signal?: AbortSignal | undefined;
}

export class Registries {
  readonly #options: RegistryOptions;

  /** Everything as the client takes it; `insecure` comes from the engine. */
  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** Asks the registry first; then keeps the password where Docker does: with a credential helper, or in a file. */
  async login(registry: string, { username, password, ...access }: Login): Promise<Kept> {
    const { registryOf, storeCredentials } = await import('../registry/credentials.ts');
    const name = registryOf(registry);
    await this.#with((client) => client.login(hostOf(name), { kind: 'password', username, password }, access));
    return await storeCredentials(name, { username, password }, this.#keyring(access));
  }

  /** The user whose password is stored, if it is one that can be told. */
  async user(registry: string, access: Access = {}): Promise<string | undefined> {
    const { findCredentials, registryOf } = await import('../registry/credentials.ts');
    const found = await findCredentials(registryOf(registry), '', this.#keyring(access));
    return found?.kind === 'password' ? found.username : undefined;
  }

  /** Whether what is stored is still good. False where nothing is. */
  async isLoggedIn(registry: string, access: Access & { signal?: AbortSignal | undefined } = {}): Promise<boolean> {
    const { findCredentials, registryOf } = await import('../registry/credentials.ts');
    const name = registryOf(registry);
    const stored = await findCredentials(name, '', this.#keyring(access));
    if (!stored) return false;
    return await this.#with((client) => client.login(hostOf(name), stored, access)).then(
      () => true,
      () => false,
    );
  }

  /** False where nothing was stored. */
  async logout(registry: string, access: Pick<Access, 'authFile'> = {}): Promise<boolean> {
    const { registryOf, removeCredentials } = await import('../registry/credentials.ts');
    return await removeCredentials(registryOf(registry), this.#keyring(access));
  }

  /** Resolves to the registries that something was stored for. */
  async logoutAll(access: Pick<Access, 'authFile'> = {}): Promise<string[]> {
    const { knownRegistries, removeCredentials } = await import('../registry/credentials.ts');
    const known = await knownRegistries(this.#keyring(access));
    const gone: string[] = [];
    for (const name of known) if (await removeCredentials(name, this.#keyring(access))) gone.push(name);
    return gone;
  }

  /** The names of repositories that `term` is a part of, where the registry tells. */
  async search(registry: string, term: string, { limit = Infinity, ...access }: SearchOptions = {}): Promise<string[]> {
    return await this.#with(async (client) => {
      const found: string[] = [];
      for await (const name of client.catalogue(registry, access)) {
        if (found.length >= limit) break;
        if (name.includes(term)) found.push(name);
      }
      return found;
    });
  }

  #keyring({ authFile }: Access): { env: NodeJS.ProcessEnv | undefined; authFile: string | undefined } {
    return { env: this.#options.env, authFile };
  }

  async #with<T>(work: (client: RegistryClient) => Promise<T>): Promise<T> {
    const { RegistryClient: Client } = await import('../registry/client.ts');
    const client = new Client(this.#options);
    try {
      return await work(client);
    } finally {
      client.close();
    }
  }
}

/** A login may be for a part of a registry, `host/path`; the registry knows only itself. */
function hostOf(name: string): string {
  return name.split('/', 1)[0]!;
}
