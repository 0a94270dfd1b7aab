// What a container is, once the image's wishes and the user's options have been merged by Docker's rules.
// These settings are the container's document in the database: start, exec and inspect work from them alone.
// Pure: looks at no file and asks no kernel.

import { posix } from 'node:path';

import type { ProcessDefaults } from '../../registry/oci.ts';
import { InvalidArgumentError } from '../errors.ts';
import { capabilities } from './capabilities.ts';
import { parseExpose } from '../networks/ports.ts';
import { resolveMounts, type ResolvedMount } from './mounts.ts';
import { type NetworkMode, type NetworkSettings, resolveNetwork } from './networking.ts';
import { device, hostName } from './notation/names.ts';
import { bytes, signalNumber, ulimits } from './notation/quantities.ts';
import type { CreateOptions, Device, Ulimit } from './options.ts';
import { resolveLimits, type Limits } from './resources.ts';
import { checkSysctls } from './sysctls.ts';

export interface LogSettings {
  driver: 'json-file' | 'none';
  /** Bytes; 0 is no limit. */
  maxSize: number;
  maxFiles: number;
}

export interface Settings extends NetworkSettings {
  entrypoint: readonly string[];
  command: readonly string[];
  /** Complete but for HOME, which the container's /etc/passwd has. */
  env: readonly string[];
  user: string;
  workdir: string;
  groupAdd: readonly string[];
  interactive: boolean;
  tty: boolean;
  columns?: number | undefined;
  rows?: number | undefined;
  hostname: string;
  domainname: string;
  rm: boolean;
  mounts: readonly ResolvedMount[];
  readOnly: boolean;
  shmSize: number;
  limits: Limits;
  capabilities: readonly string[];
  capAdd: readonly string[];
  capDrop: readonly string[];
  privileged: boolean;
  seccomp: 'default' | 'unconfined' | object;
  noNewPrivileges: boolean;
  devices: readonly Required<Device>[];
  ulimits: readonly (readonly [type: string, limit: Ulimit])[];
  sysctls: Readonly<Record<string, string>>;
  oomScoreAdj?: number;
  init: boolean;
  pid: 'private' | 'host';
  ipc: 'private' | 'host' | 'none';
  uts: 'private' | 'host';
  cgroupns: 'private' | 'host';
  userns: string;
  stopSignal: number;
  stopTimeout: number;
  cgroupParent: string;
  log: LogSettings;
  exposedPorts: readonly string[];
}

/** What merging needs to know of the world. */
export interface Surroundings {
  /** The engine's. */
  cgroupParent: string;
  /** The engine's. */
  defaultNetwork: string;
  /** The machine's hostname, for containers that share it. */
  hostname: string;
  /** The processors and memory nodes there are. */
  cpus: ReadonlySet<number>;
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const defaultShmSize = 64 * 2 ** 20;

export function resolveSettings(
  id: string,
  image: ProcessDefaults,
  options: CreateOptions,
  surroundings: Surroundings,
): Settings {
  const { entrypoint, command } = words(image, options);
  const privileged = options.privileged ?? false;
  const networking = resolveNetwork(options, surroundings.defaultNetwork);
  const { network } = networking;
  const pid = oneOf('--pid', options.pid, ['private', 'host']);
  const ipc = oneOf('--ipc', options.ipc, ['private', 'host', 'none']);
  const uts = oneOf('--uts', options.uts, ['private', 'host']);
  const hostname = chooseHostname(id, options, uts, network, surroundings.hostname);
  const tty = options.tty ?? false;
  const settings: Settings = {
    entrypoint,
    command,
    env: environment(image, options, hostname, tty),
    user: options.user ?? image.User ?? '',
    workdir: workingDirectory(image, options),
    groupAdd: (options.groupAdd ?? []).map(String),
    interactive: options.interactive ?? false,
    tty,
    hostname,
    domainname: options.domainname ?? '',
    rm: options.rm ?? false,
    mounts: resolveMounts(image, options),
    readOnly: options.readOnly ?? false,
    shmSize: shmSize(options),
    limits: resolveLimits(options, surroundings.cpus),
    capabilities: capabilities(options.capAdd, options.capDrop, privileged),
    capAdd: options.capAdd ?? [],
    capDrop: options.capDrop ?? [],
    privileged,
    seccomp: options.securityOpt?.seccomp ?? (privileged ? 'unconfined' : 'default'),
    noNewPrivileges: options.securityOpt?.noNewPrivileges ?? false,
    devices: (options.devices ?? []).map(device),
    ulimits: ulimits(options.ulimits ?? []),
    sysctls: checkSysctls(options.sysctls ?? {}, network, ipc),
    init: options.init ?? false,
    ...networking,
    pid,
    ipc,
    uts,
    cgroupns: oneOf('--cgroupns', options.cgroupns, ['private', 'host']),
    userns: userns(options),
    stopSignal: signalNumber(options.stopSignal ?? (image.StopSignal || 'SIGTERM')),
    stopTimeout: stopTimeout(options),
    cgroupParent: cgroupParent(options, surroundings),
    log: logSettings(options),
    exposedPorts: exposed(image, options),
  };
  if (options.columns !== undefined && options.rows !== undefined) {
    settings.columns = options.columns;
    settings.rows = options.rows;
  }
  if (options.oomScoreAdj !== undefined) settings.oomScoreAdj = oomScoreAdj(options.oomScoreAdj);
  return settings;
}

/** `PORT/PROTOCOL`, each once. */
function exposed(image: ProcessDefaults, options: CreateOptions): string[] {
  const given = [...Object.keys(image.ExposedPorts ?? {}), ...(options.expose ?? [])];
  const each = given.flatMap((text) => parseExpose(text)).map(({ port, protocol }) => `${port}/${protocol}`);
  return [...new Set(each)];
}

function words(image: ProcessDefaults, options: CreateOptions): { entrypoint: string[]; command: string[] } {
  const given = options.entrypoint;
  const entrypoint = given === undefined ? (image.Entrypoint ?? []) : typeof given === 'string' ? [given] : [...given];
  // Docker drops the image's Cmd with its Entrypoint: the one was written for the other.
  const inherited = given === undefined ? (image.Cmd ?? []) : [];
  const command = options.command !== undefined && options.command.length > 0 ? [...options.command] : inherited;
  const plain = entrypoint.length === 1 && entrypoint[0] === '' ? [] : entrypoint;
  for (const word of [...plain, ...command]) {
    if (word.includes('\0')) throw new InvalidArgumentError('COMMAND_INVALID', 'a word of the command holds a NUL');
  }
  if (plain.length + command.length === 0) {
    throw new InvalidArgumentError(
      'COMMAND_MISSING',
      'No command specified, and the image has none: name a program after the image',
    );
  }
  return { entrypoint: plain, command };
}

/** PATH, HOSTNAME and TERM, then the image's, then the user's; a later one takes the place of an earlier of its name. */
function environment(image: ProcessDefaults, options: CreateOptions, hostname: string, tty: boolean): string[] {
  const merged = new Map<string, string>();
  for (const line of [defaultPath, `HOSTNAME=${hostname}`, ...(tty ? ['TERM=xterm'] : []), ...(image.Env ?? [])]) {
    merged.set(line.slice(0, Math.max(line.indexOf('='), 0)) || line, line);
  }
  for (const line of environmentLines(options.env)) {
    const equals = line.indexOf('=');
    if (equals < 0) merged.delete(line);
    else merged.set(line.slice(0, equals), line);
  }
  return [...merged.values()];
}

/** The user's variables as lines, checked. */
export function environmentLines(env: CreateOptions['env'] = []): string[] {
  const lines = Array.isArray(env) ? [...env] : Object.entries(env).map(([name, value]) => `${name}=${value}`);
  for (const line of lines) {
    if (line === '' || line.startsWith('=') || line.includes('\0')) {
      throw new InvalidArgumentError('ENVIRONMENT_INVALID', `invalid environment variable: ${JSON.stringify(line)}`);
    }
  }
  return lines;
}

function workingDirectory(image: ProcessDefaults, options: CreateOptions): string {
  const given = options.workdir;
  if (given !== undefined && !given.startsWith('/')) {
    throw new InvalidArgumentError(
      'WORKDIR_INVALID',
      `the working directory '${given}' is invalid, it needs to be an absolute path`,
    );
  }
  return posix
    .normalize(`/${given ?? image.WorkingDir ?? ''}`)
    .replace(/(?<=.)\/$/, '')
    .replace(/^\/+/, '/');
}

function chooseHostname(
  id: string,
  options: CreateOptions,
  uts: 'private' | 'host',
  network: NetworkMode,
  own: string,
): string {
  if (uts === 'host') {
    if (options.hostname !== undefined || options.domainname !== undefined) {
      throw new InvalidArgumentError('HOSTNAME_CONFLICT', 'conflicting options: hostname and the UTS mode');
    }
    return own;
  }
  if (options.hostname !== undefined) return hostName(options.hostname);
  return network === 'host' ? own : id.slice(0, 12);
}

function shmSize(options: CreateOptions): number {
  const size = options.shmSize === undefined ? defaultShmSize : bytes(options.shmSize, '--shm-size');
  if (size > 0) return size;
  if (size === 0) return defaultShmSize;
  throw new InvalidArgumentError('SIZE_INVALID', 'SHM size can not be less than 0');
}

function userns(options: CreateOptions): string {
  const given = options.userns ?? '';
  if (given === '' || given === 'host' || given === 'private' || /^\d{1,10}:[1-9]\d{0,9}$/.test(given)) return given;
  throw new InvalidArgumentError('USERNS_INVALID', `invalid USER mode: ${given}: give host, private, or UID:COUNT`);
}

function stopTimeout(options: CreateOptions): number {
  const seconds = options.stopTimeout ?? 10;
  if (Number.isSafeInteger(seconds) && seconds >= -1) return seconds;
  throw new InvalidArgumentError('STOP_TIMEOUT_INVALID', `invalid stop timeout ${seconds}: give whole seconds, or -1`);
}

function oomScoreAdj(score: number): number {
  if (Number.isSafeInteger(score) && score >= -1000 && score <= 1000) return score;
  throw new InvalidArgumentError(
    'OOM_SCORE_INVALID',
    `Invalid value ${score}, range for oom score adj is [-1000, 1000]`,
  );
}

function cgroupParent(options: CreateOptions, surroundings: Surroundings): string {
  const parent = options.cgroupParent || surroundings.cgroupParent;
  if (!parent.split('/').includes('..') && !parent.includes('\0')) return posix.normalize(`/${parent}`);
  throw new InvalidArgumentError('CGROUP_PARENT_INVALID', `invalid --cgroup-parent ${parent}: it leaves the hierarchy`);
}

/**
 * A log is bounded unless told otherwise, as Docker's `local` driver has it: without a daemon, nobody watches the disk that
 * a container with too much to say would fill.
 */
function logSettings(options: CreateOptions): LogSettings {
  const driver = oneOf('--log-driver', options.logDriver, ['json-file', 'none']);
  const { 'max-size': size = '20m', 'max-file': files = '5', ...rest } = options.logOptions ?? {};
  for (const name of Object.keys(rest)) {
    throw new InvalidArgumentError('LOG_OPTION_INVALID', `unknown log opt '${name}' for ${driver} log driver`);
  }
  if (!/^[1-9]\d{0,4}$/.test(files)) {
    throw new InvalidArgumentError('LOG_OPTION_INVALID', `max-file cannot be less than 1: ${files}`);
  }
  return { driver, maxSize: Math.max(0, bytes(size, 'max-size')), maxFiles: Number(files) };
}

/** The first word is the default. */
function oneOf<const Word extends string>(flag: string, given: string | undefined, words: readonly Word[]): Word {
  if (given === undefined || given === '') return words[0]!;
  const word = words.find((candidate) => candidate === given);
  if (word !== undefined) return word;
  throw new InvalidArgumentError('MODE_INVALID', `${flag} ${given}: known are ${words.join(', ')}`);
}
