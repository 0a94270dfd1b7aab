// What has to lie on the disk before a container can start: its directories, its /etc files, its volumes, the
// directories `-v` names. Repeats harmlessly: every start comes through here.

import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';

import { InvalidArgumentError } from '../errors.ts';
import type { Paths } from './paths.ts';
import type { Settings } from './settings.ts';

const localHosts = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
  '',
].join('\n');

export function prepareDirectories(paths: Paths): void {
  mkdirSync(paths.directory, { recursive: true, mode: 0o700 });
  // The upper directory's mode is the container's root directory's.
  mkdirSync(paths.upper, { recursive: true, mode: 0o755 });
  mkdirSync(paths.work, { recursive: true, mode: 0o700 });
}

export function prepareFiles(settings: Settings, paths: Paths): void {
  const { hostname, domainname } = settings;
  writeFileSync(`${paths.directory}/hostname`, `${hostname}\n`);
  writeFileSync(
    `${paths.directory}/hosts`,
    settings.network === 'host' ? hostFile('/etc/hosts', localHosts) : hosts(hostname, domainname),
  );
  writeFileSync(`${paths.directory}/resolv.conf`, hostFile('/etc/resolv.conf', ''));
}

/** A host without its name would not be found by programs that look themselves up; podman does the same. */
function hosts(hostname: string, domainname: string): string {
  const full = domainname === '' ? hostname : `${hostname}.${domainname} ${hostname}`;
  return `${localHosts}127.0.0.1\t${full}\n`;
}

function hostFile(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

/** `-v` makes a missing directory, as Docker does; `--mount` wants it there. */
export function prepareBinds(settings: Settings): void {
  for (const mount of settings.mounts) {
    if (mount.type !== 'bind') continue;
    if (exists(mount.source)) continue;
    if (!mount.createSource) {
      throw new InvalidArgumentError(
        'BIND_SOURCE_MISSING',
        `invalid mount config for type "bind": bind source path does not exist: ${mount.source}`,
      );
    }
    try {
      mkdirSync(mount.source, { recursive: true, mode: 0o755 });
    } catch (error) {
      throw new InvalidArgumentError(
        'BIND_SOURCE_MISSING',
        `error while creating mount source path '${mount.source}': ${(error as Error).message}`,
        { cause: error },
      );
    }
  }
}

function exists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    // What cannot be looked at may still be mounted: the kernel will say.
    return !['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
  }
}
