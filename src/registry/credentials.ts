// Who we are to a registry: Docker's config.json and containers' auth.json, and the helpers they name.
// Reading only, and only when a registry asks; nothing is cached on disk and nothing is logged.

import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { RegistryError } from '../engine/errors.ts';

export type Credentials =
  | { kind: 'password'; username: string; password: string }
  /** A refresh token for the registry's token service (`IdentityToken` in Docker's words). */
  | { kind: 'identity'; token: string }
  /** A bearer token to present as it is (`RegistryToken`). */
  | { kind: 'bearer'; token: string };

interface AuthFile {
  auths?: Record<string, AuthEntry>;
  credHelpers?: Record<string, string>;
  credsStore?: string;
}

interface AuthEntry {
  auth?: string;
  username?: string;
  password?: string;
  identitytoken?: string;
  registrytoken?: string;
}

const helperPatience = 30_000;
/** Docker Hub's key in every file and helper, for historical reasons. */
const dockerHubKey = 'https://index.docker.io/v1/';

/** The credentials for a repository of a registry, or undefined: anonymous. */
export async function findCredentials(
  registry: string,
  repository: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Credentials | undefined> {
  for (const path of authFiles(env)) {
    const file = await readAuthFile(path);
    const found = file && (await lookUp(file, path, registry, repository, env));
    if (found) return found;
  }
  return undefined;
}

function authFiles(env: NodeJS.ProcessEnv): string[] {
  if (env.REGISTRY_AUTH_FILE) return [env.REGISTRY_AUTH_FILE];
  const docker = join(env.DOCKER_CONFIG ?? join(env.HOME ?? homedir(), '.docker'), 'config.json');
  return env.XDG_RUNTIME_DIR ? [docker, join(env.XDG_RUNTIME_DIR, 'containers', 'auth.json')] : [docker];
}

async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw invalid(`cannot read ${path}: ${message}`, error);
  }
  if (text.trim() === '') return undefined;
  try {
    const file: unknown = JSON.parse(text);
    if (typeof file === 'object' && file !== null && !Array.isArray(file)) return file;
  } catch (error) {
    // The parser's own message would quote the file, which holds passwords.
    throw invalid(`${path} is not valid JSON: mend or remove it`, error instanceof SyntaxError ? undefined : error);
  }
  throw invalid(`${path} is not a JSON object: mend or remove it`);
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
    const server = registry === 'docker.io' ? dockerHubKey : registry;
    const found = await askHelper(name, server, path, env);
    if (found) return found;
  }
  for (const key of keys) {
    const entry = own(file.auths, key) ?? entryByHost(file.auths, key);
    const found = entry && fromEntry(entry, key, path);
    if (found) return found;
  }
  return undefined;
}

/** Keys to look under, the most particular first: containers' auth.json allows `host/path`. */
function keysFor(registry: string, repository: string): string[] {
  const parts = repository.split('/');
  const keys = parts.map((_, index) => [registry, ...parts.slice(0, parts.length - index)].join('/'));
  keys.push(registry);
  if (registry === 'docker.io') keys.push(dockerHubKey, 'index.docker.io', 'registry-1.docker.io');
  return keys;
}

/** Old Docker wrote keys as URLs: `https://host/v1/` means host. */
function entryByHost(auths: AuthFile['auths'], host: string): AuthEntry | undefined {
  const key = Object.keys(auths ?? {}).find(
    (name) => name.replace(/^https?:\/\//, '').replace(/\/(v[12]\/?)?$/, '') === host,
  );
  return key === undefined ? undefined : auths?.[key];
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
    throw invalid(`the entry for ${key} in ${path} is not base64 of user:password: log in again`);
  }
  return { kind: 'password', username, password: password.replace(/\0+$/, '') };
}

/** The protocol of docker-credential-helpers: `get`, the server on stdin, JSON on stdout. */
async function askHelper(
  name: string,
  server: string,
  path: string,
  env: NodeJS.ProcessEnv,
): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name))
    throw invalid(`${path} names a credential helper ${JSON.stringify(name)}`);
  const program = `docker-credential-${name}`;
  const { status, output, failure } = await run(program, server, env);
  if (failure) throw invalid(`cannot run ${program}, named by ${path}: ${failure}`);
  if (status !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    throw invalid(
      `${program} found no credentials for ${server}: ${output.trim().split('\n')[0] || `status ${status}`}`,
    );
  }
  let answer: { Username?: unknown; Secret?: unknown };
  try {
    answer = JSON.parse(output) as typeof answer;
  } catch {
    throw invalid(`${program} answered for ${server} with something that is not JSON`);
  }
  if (typeof answer.Username !== 'string' || typeof answer.Secret !== 'string' || answer.Secret === '')
    return undefined;
  if (answer.Username === '<token>') return { kind: 'identity', token: answer.Secret };
  return { kind: 'password', username: answer.Username, password: answer.Secret };
}

function run(
  program: string,
  input: string,
  env: NodeJS.ProcessEnv,
): Promise<{ status: number | null; output: string; failure?: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, ['get'], { env, stdio: ['pipe', 'pipe', 'ignore'] });
    // Not spawn's own time-out, which outlives a program that cannot be started and keeps the process.
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy(); // What the helper itself has started may hold the other end.
    }, helperPatience);
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.length > 1 << 20) child.kill('SIGKILL');
    });
    child.stdin.on('error', () => undefined); // A helper may answer without reading.
    child.stdin.end(`${input}\n`);
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve({ status: null, output, failure: error.message });
    });
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      resolve(signal ? { status, output, failure: `it ended with ${signal}` } : { status, output });
    });
  });
}

function own<T>(record: Record<string, T> | undefined, key: string): T | undefined {
  return record && Object.hasOwn(record, key) ? record[key] : undefined;
}

function invalid(message: string, cause?: unknown): RegistryError {
  return new RegistryError('REGISTRY_CREDENTIALS', message, { cause });
}
