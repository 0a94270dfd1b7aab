// What the machine's owner has said about a registry: certs.d/HOST/ with a hosts.toml as containerd reads it, or with
// certificates as Docker and podman read them.

import { readdirSync, readFileSync } from 'node:fs';
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
      const files = list(directory);
      if (files.length === 0) continue;
      if (files.includes('hosts.toml')) {
        const { parseHosts } = await import('./hosts-toml.ts');
        const path = join(directory, 'hosts.toml');
        return parseHosts(read(path), path, registry, tlsVerify);
      }
      return [directly(registry, tlsVerify, certificates(directory, files))];
    }
  }
  return [directly(registry, tlsVerify)];
}

/** Docker's names: any .crt is an authority, a .cert is ours, with its .key. */
function certificates(directory: string, files: readonly string[]): Tls {
  const ca = files.filter((name) => name.endsWith('.crt')).map((name) => read(join(directory, name)));
  const client = files.find((name) => name.endsWith('.cert'));
  if (client === undefined) return { verify: true, ...(ca.length > 0 && { ca }) };
  const key = client.replace(/cert$/, 'key');
  if (!files.includes(key)) throw invalid(`${join(directory, client)} has no ${key} beside it`);
  const ours = { cert: read(join(directory, client)), key: read(join(directory, key)) };
  return { verify: true, ...(ca.length > 0 && { ca }), ...ours };
}

/** At once: what node:fs/promises takes to load is a tenth of a pull that finds everything here. */
export function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`cannot read ${path}: ${(error as Error).message}`, error);
  }
}

/** Sorted; a directory that cannot be looked into is as good as none. */
function list(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

export function invalid(message: string, cause?: unknown): RegistryError {
  return new RegistryError('REGISTRY_CONFIG_INVALID', message, { cause });
}
