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
import { networkInterfaces } from 'node:os';

import { InvalidArgumentError } from '../errors.ts';
import { withoutBits } from '../networks/addresses.ts';
import type { Wiring } from '../networks/wiring.ts';
import { isRootless } from './ground.ts';
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

/** For a container that makes its mounts before anybody knows its addresses; its program waits for `prepareFiles`. */
export function prepareEmptyFiles({ etc }: Paths, owner?: number): void {
  for (const name of ['hostname', 'hosts', 'resolv.conf']) writeFile(etc(name), '', owner);
}

/** `wiring`: of a container on networks of its own. */
export function prepareFiles(settings: Settings, { etc }: Paths, owner?: number, wiring?: Wiring): void {
  writeFile(etc('hostname'), `${settings.hostname}\n`, owner);
  writeFile(etc('hosts'), hosts(settings, wiring), owner);
  writeFile(etc('resolv.conf'), resolver(settings, wiring), owner);
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
function hosts({ hostname, domainname, network, addHosts }: Settings, wiring: Wiring | undefined): string {
  const full = domainname === '' ? hostname : `${hostname}.${domainname} ${hostname}`;
  const interfaces = wiring?.interfaces ?? [];
  const addresses = interfaces.flatMap((each) => each.addresses.map(withoutBits));
  const own = addresses.length > 0 ? addresses : ['127.0.0.1'];
  const gateway = network === 'host' ? '127.0.0.1' : hostAddress(wiring);
  const lines = addHosts.map(([name, address]) => {
    if (address !== 'host-gateway') return `${address}\t${name}\n`;
    if (gateway !== undefined) return `${gateway}\t${name}\n`;
    throw new InvalidArgumentError(
      'NETWORK_INVALID',
      `--add-host ${name}:host-gateway: this container cannot reach the host`,
    );
  });
  // Both names of it that people know.
  if (gateway !== undefined && wiring) lines.push(`${gateway}\thost.docker.internal host.containers.internal\n`);
  const beginning = network === 'host' ? hostFile('/etc/hosts', localHosts) : localHosts;
  const names = network === 'host' ? [] : own.map((address) => `${address}\t${full}\n`);
  return [beginning, ...names, ...lines].join('');
}

/**
 * The host as a container reaches it. An ordinary user's bridge is not the host's: there it is one of the host's own
 * addresses, as other machines know it.
 */
function hostAddress(wiring: Wiring | undefined): string | undefined {
  const gateway = wiring?.interfaces.flatMap(({ gateways }) => gateways)[0];
  if (gateway === undefined || !isRootless()) return gateway;
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const wanted = gateway.includes(':') ? 'IPv6' : 'IPv4';
  const usable = addresses.find(
    ({ internal, family, address }) => !internal && family === wanted && !address.startsWith('fe80:'),
  );
  return usable?.address ?? gateway;
}

/** On networks of the engine the monitor answers, and asks the servers that are meant. */
function resolver({ dns }: Settings, wiring: Wiring | undefined): string {
  const file = hostFile('/etc/resolv.conf', '');
  const { servers, search, options } = dns;
  if (!wiring && servers.length + search.length + options.length === 0) return file;
  const of = (word: string) =>
    file.split('\n').flatMap((line) => (line.startsWith(`${word} `) ? line.trim().split(/\s+/).slice(1) : []));
  const asked = wiring ? [nameServer] : servers.length > 0 ? servers : of('nameserver');
  const domains = search.length > 0 ? search : of('search');
  const manners = [...(options.length > 0 ? options : of('options'))];
  if (wiring && !manners.some((manner) => manner.startsWith('ndots:'))) manners.push('ndots:0');
  return [
    ...asked.map((server) => `nameserver ${server}`),
    ...(domains.length > 0 && !domains.includes('.') ? [`search ${domains.join(' ')}`] : []),
    ...(manners.length > 0 ? [`options ${manners.join(' ')}`] : []),
    '',
  ].join('\n');
}

/** Where a container on a network finds its monitor's name service. */
const nameServer = '127.0.0.11';

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
