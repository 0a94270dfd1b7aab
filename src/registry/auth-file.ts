// Docker's config.json and containers' auth.json: where they are, what is in them, and how they are changed.
// A change replaces the file as a whole, under a lock, and keeps what it does not know.

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { close, tryLock } from '../native.ts';
import { RegistryError } from '../engine/errors.ts';

export interface AuthFile {
  auths?: Record<string, AuthEntry>;
  credHelpers?: Record<string, string>;
  credsStore?: string;
}

export interface AuthEntry {
  auth?: string;
  username?: string;
  password?: string;
  identitytoken?: string;
  registrytoken?: string;
}

/** The files that are asked, in order; the first is the one that a login changes. `named` by the user alone, where he does. */
export function authFiles(env: NodeJS.ProcessEnv, named?: string): [string, ...string[]] {
  const only = named ?? env.REGISTRY_AUTH_FILE;
  if (only) return [only];
  const docker = join(env.DOCKER_CONFIG ?? join(env.HOME ?? homedir(), '.docker'), 'config.json');
  return env.XDG_RUNTIME_DIR ? [docker, join(env.XDG_RUNTIME_DIR, 'containers', 'auth.json')] : [docker];
}

/** Undefined where there is none, or nothing in it. */
export function readAuthFile(path: string): AuthFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
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

/** Lets `change` work on what the file holds, and writes it where that returns true. */
export async function changeAuthFile(path: string, change: (file: AuthFile) => boolean): Promise<void> {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const lock = await lockOf(`${path}.lock`);
    try {
      const file = readAuthFile(path) ?? {};
      if (change(file)) replace(path, `${JSON.stringify(file, undefined, '\t')}\n`);
    } finally {
      rmSync(`${path}.lock`, { force: true });
      close(lock);
    }
  } catch (error) {
    if (error instanceof RegistryError) throw error;
    throw invalid(`cannot write ${path}: ${(error as Error).message}`, error);
  }
}

async function lockOf(path: string): Promise<number> {
  for (;;) {
    const lock = tryLock(path);
    if (lock !== undefined) return lock;
    await sleep(20);
  }
}

/** Whoever reads it sees the old file or the new one, whole; a link stays a link. */
function replace(path: string, text: string): void {
  const target = resolved(path);
  const fresh = `${target}.new`;
  try {
    // Of a login that was killed.
    rmSync(fresh, { force: true });
    const file = openSync(fresh, 'wx', 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(fresh, target);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function invalid(message: string, cause?: unknown): RegistryError {
  return new RegistryError('REGISTRY_CREDENTIALS', message, { cause });
}
