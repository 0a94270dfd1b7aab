// What the machine's owner has said about a registry: certs.d/HOST/ with a hosts.toml as containerd reads it, or with
// certificates as Docker and podman read them.

import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { RegistryError } from '../engine/errors.ts';
import type { Tls } from './endpoint.ts';
import { directly, type Host } from './host.ts';

/** The directories that are looked at, the user's own first. */
export function certsDirectories(env: NodeJS.ProcessEnv): string[] {
  const config = env.XDG_CONFIG_HOME || join(env.HOME ?? homedir(), '.config');
  const system = ['kapsel', 'containerd', 'docker', 'containers'].map((name) => `/etc/${name}/certs.d`);
  return [join(config, 'kapsel', 'certs.d'), join(config, 'containers', 'certs.d'), ...system];
}

/** The hosts to ask for a registry, in order; the registry itself is the last. */
export async function hostsOf(
  registry: string,
  directories: readonly string[],
  tlsVerify: boolean | undefined,
): Promise<Host[]> {
  for (const name of [registry, '_default']) {
    for (const parent of directories) {
      const directory = join(parent, name);
      const files = await list(directory);
      if (files.length === 0) continue;
      if (files.includes('hosts.toml')) {
        const { parseHosts } = await import('./hosts-toml.ts');
        const path = join(directory, 'hosts.toml');
        return await parseHosts(await read(path), path, registry, tlsVerify);
      }
      return [directly(registry, tlsVerify, await certificates(directory, files))];
    }
  }
  return [directly(registry, tlsVerify)];
}

/** Docker's names: any .crt is an authority, a .cert is ours, with its .key. */
async function certificates(directory: string, files: readonly string[]): Promise<Tls> {
  const ca = await Promise.all(
    files.filter((name) => name.endsWith('.crt')).map((name) => read(join(directory, name))),
  );
  const client = files.find((name) => name.endsWith('.cert'));
  if (client === undefined) return { verify: true, ...(ca.length > 0 && { ca }) };
  const key = client.replace(/cert$/, 'key');
  if (!files.includes(key)) throw invalid(`${join(directory, client)} has no ${key} beside it`);
  const ours = { cert: await read(join(directory, client)), key: await read(join(directory, key)) };
  return { verify: true, ...(ca.length > 0 && { ca }), ...ours };
}

export async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw invalid(`cannot read ${path}: ${(error as Error).message}`, error);
  }
}

/** Sorted; a directory that cannot be looked into is as good as none. */
async function list(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch {
    return [];
  }
}

export function invalid(message: string, cause?: unknown): RegistryError {
  return new RegistryError('REGISTRY_CONFIG_INVALID', message, { cause });
}
