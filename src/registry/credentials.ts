// Who we are to a registry: found in Docker's config.json, containers' auth.json and the helpers that they name, and put there.
// Nothing is cached on disk and nothing is logged.

import { RegistryError } from '../engine/errors.ts';
import { type AuthEntry, type AuthFile, authFiles, changeAuthFile, readAuthFile } from './auth-file.ts';
import { CredentialHelper } from './credential-helper.ts';

export type Credentials =
  | { kind: 'password'; username: string; password: string }
  /** A refresh token for the registry's token service (`IdentityToken` in Docker's words). */
  | { kind: 'identity'; token: string }
  /** A bearer token to present as it is (`RegistryToken`). */
  | { kind: 'bearer'; token: string };

/** Where credentials are kept. */
export interface Keyring {
  env?: NodeJS.ProcessEnv | undefined;
  /** Instead of what `env` says. */
  authFile?: string | undefined;
}

/** Docker Hub's key in every file and helper, for historical reasons. */
const dockerHubKey = 'https://index.docker.io/v1/';

/** The credentials for a repository of a registry, or undefined: anonymous. */
export async function findCredentials(
  registry: string,
  repository: string,
  { env = process.env, authFile }: Keyring = {},
): Promise<Credentials | undefined> {
  for (const path of authFiles(env, authFile)) {
    const file = readAuthFile(path);
    const found = file && (await lookUp(file, path, registry, repository, env));
    if (found) return found;
  }
  return undefined;
}

/** Where a password came to lie: a helper's name, or a file in which anyone who reads it has the password. */
export type Kept = { helper: string } | { file: string };

export async function storeCredentials(
  registry: string,
  { username, password }: { username: string; password: string },
  { env = process.env, authFile }: Keyring = {},
): Promise<Kept> {
  const [path] = authFiles(env, authFile);
  const key = serverOf(registry);
  const helper = helperOf(readAuthFile(path) ?? {}, registry);
  if (helper) await new CredentialHelper(helper, path, env).store(key, { Username: username, Secret: password });
  const entry = helper ? {} : { auth: Buffer.from(`${username}:${password}`).toString('base64') };
  await changeAuthFile(path, (file) => {
    // What says the same under another spelling would be found first, or outlive a logout.
    for (const other of spellings(file.auths, registry)) delete file.auths![other];
    file.auths = { ...file.auths, [key]: entry };
    return true;
  });
  return helper ? { helper } : { file: path };
}

/** False where there were none. */
export async function removeCredentials(
  registry: string,
  { env = process.env, authFile }: Keyring = {},
): Promise<boolean> {
  let found = false;
  for (const path of authFiles(env, authFile)) {
    const before = readAuthFile(path);
    if (!before) continue;
    const helper = helperOf(before, registry);
    if (helper && (await new CredentialHelper(helper, path, env).erase(serverOf(registry)))) found = true;
    await changeAuthFile(path, (file) => {
      const doomed = spellings(file.auths, registry);
      for (const key of doomed) delete file.auths![key];
      found ||= doomed.length > 0;
      return doomed.length > 0;
    });
  }
  return found;
}

/** Every registry that something is stored for. */
export async function knownRegistries({ env = process.env, authFile }: Keyring = {}): Promise<string[]> {
  const names = new Set<string>();
  for (const path of authFiles(env, authFile)) {
    const file = readAuthFile(path) ?? {};
    const kept = file.credsStore ? await new CredentialHelper(file.credsStore, path, env).list() : [];
    for (const key of [...Object.keys(file.auths ?? {}), ...Object.keys(file.credHelpers ?? {}), ...kept]) {
      names.add(registryOf(key));
    }
  }
  return [...names].sort();
}

/** `https://host/v1/`, `host/` and every name of Docker Hub as the name that references have. */
export function registryOf(address: string): string {
  const name = address.replace(/^https?:\/\//, '').replace(/\/(v[12]\/?)?$/, '');
  return ['', 'index.docker.io', 'registry-1.docker.io'].includes(name) ? 'docker.io' : name;
}

async function lookUp(
  file: AuthFile,
  path: string,
  registry: string,
  repository: string,
  env: NodeJS.ProcessEnv,
): Promise<Credentials | undefined> {
  const keys = keysFor(registry, repository);
  const helper = keys.map((key) => own(file.credHelpers, key)).find((name) => name !== undefined);
  for (const name of [helper, file.credsStore]) {
    if (!name) continue;
    const found = await new CredentialHelper(name, path, env).get(serverOf(registry));
    if (found?.Username === '<token>') return { kind: 'identity', token: found.Secret };
    if (found) return { kind: 'password', username: found.Username, password: found.Secret };
  }
  for (const key of keys) {
    const entry = own(file.auths, key) ?? own(file.auths, spellings(file.auths, key)[0]);
    const found = entry && fromEntry(entry, key, path);
    if (found) return found;
  }
  return undefined;
}

/** What a registry is called towards a helper and in a file. */
function serverOf(registry: string): string {
  return registry === 'docker.io' ? dockerHubKey : registry;
}

function helperOf(file: AuthFile, registry: string): string | undefined {
  return own(file.credHelpers, serverOf(registry)) ?? own(file.credHelpers, registry) ?? file.credsStore;
}

/** Keys to look under, the most particular first: containers' auth.json allows `host/path`. */
function keysFor(registry: string, repository: string): string[] {
  const parts = repository.split('/');
  const keys = parts.map((_, index) => [registry, ...parts.slice(0, parts.length - index)].join('/'));
  keys.push(registry);
  if (registry === 'docker.io') keys.push(dockerHubKey, 'index.docker.io', 'registry-1.docker.io');
  return keys;
}

/** The keys that mean a registry: old Docker wrote `https://host/v1/`. */
function spellings(auths: AuthFile['auths'], registry: string): string[] {
  return Object.keys(auths ?? {}).filter((key) => registryOf(key) === registryOf(registry));
}

function fromEntry(entry: AuthEntry, key: string, path: string): Credentials | undefined {
  if (entry.registrytoken) return { kind: 'bearer', token: entry.registrytoken };
  if (entry.identitytoken) return { kind: 'identity', token: entry.identitytoken };
  if (entry.username && entry.password !== undefined) {
    return { kind: 'password', username: entry.username, password: entry.password };
  }
  // Docker leaves an empty entry where a credential store holds the secret.
  if (!entry.auth) return undefined;
  const [, username, password] = /^([^:]+):([^]*)$/.exec(Buffer.from(entry.auth, 'base64').toString('utf8')) ?? [];
  if (username === undefined || password === undefined) {
    const message = `the entry for ${key} in ${path} is not base64 of user:password: log in again`;
    throw new RegistryError('REGISTRY_CREDENTIALS', message);
  }
  return { kind: 'password', username, password: password.replace(/\0+$/, '') };
}

function own<T>(record: Record<string, T> | undefined, key: string | undefined): T | undefined {
  return record && key !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}
