// What has to lie on the disk before a container can start: its directories, its /etc files, its volumes, the
// directories `-v` names. Repeats harmlessly: every start comes through here.

import {
  chmodSync,
  chownSync,
  closeSync,
  fchmodSync,
  fchownSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';

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

/** `owner`: the host's id of the container's root, where that is not the engine's own user. */
export function prepareDirectories(paths: Paths, owner?: number): void {
  makeDirectory(paths.directory, 0o700);
  // The upper directory's mode is the container's root directory's.
  makeDirectory(paths.upper, 0o755, owner);
  makeDirectory(paths.work, 0o700, owner);
}

/**
 * With exactly this mode, whatever the user's umask. Not by mkdir's recursive way, which asks about each parent first and
 * takes three times as long.
 */
export function makeDirectory(path: string, mode: number, owner?: number): void {
  try {
    mkdirSync(path, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw error;
  }
  chmodSync(path, mode);
  if (owner !== undefined) chownSync(path, owner, owner);
}

export function prepareFiles(settings: Settings, { etc }: Paths, owner?: number): void {
  const { hostname, domainname } = settings;
  writeFile(etc('hostname'), `${hostname}\n`, owner);
  writeFile(
    etc('hosts'),
    settings.network === 'host' ? hostFile('/etc/hosts', localHosts) : hosts(hostname, domainname),
    owner,
  );
  writeFile(etc('resolv.conf'), hostFile('/etc/resolv.conf', ''), owner);
}

/** Readable by everybody in the container, whatever the user's umask. */
function writeFile(path: string, content: string, owner: number | undefined): void {
  const fd = openSync(path, 'w', 0o644);
  try {
    fchmodSync(fd, 0o644);
    if (owner !== undefined) fchownSync(fd, owner, owner);
    writeSync(fd, content);
  } finally {
    closeSync(fd);
  }
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
