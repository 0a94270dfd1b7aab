// Finds and loads the addon and knows the executable beside it; nothing else in the project does. Loading happens
// at the first use. The calls keep the addon's names; a failure that crosses as a value is thrown here as a class
// of engine/errors.ts. Types of the database's rows live in native/rows.ts.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { errorFrom, type Failure, UnsupportedError } from './engine/errors.ts';
import type {
  ContainerFilter,
  ContainerRow,
  EventFilter,
  EventRow,
  Exit,
  ImageRow,
  LayerRow,
  NewContainer,
  NewEvent,
  NewImage,
  NewVolume,
  Reconciled,
  VolumeRow,
} from './native/rows.ts';

export type * from './native/rows.ts';

/** What to start, and with which file descriptors. */
export interface SpawnOptions {
  /** Absolute path; as root it is reached through a read-only clone of its mount (CVE-2019-5736). */
  path: string;
  /** The whole argument vector, argv[0] included. */
  argv: string[];
  /** `NAME=value` lines: the whole environment of the child. */
  env: string[];
  /** The child's fd 0, 1, 2, …: numbers of this process, or null for /dev/null. No other fd reaches the child. */
  fds: (number | null)[];
  /** A session of its own, so that no terminal's signals reach it. */
  setsid?: boolean;
}

/** How a child of `spawn` ended: one of the two is null. */
export interface ChildExit {
  exitCode: number | null;
  signal: number | null;
}

export interface PumpOptions {
  /** The connection to the monitor, with the attach or exec already sent. Stays the caller's to close. */
  connection: number;
  /** Where the container's stdin is written; the pump owns and closes it (at the end of `input`, or at the end). */
  stdin?: number;
  /** Where the container's stdout and stderr are read; the pump owns and closes them. */
  stdout?: number;
  stderr?: number;
  /** stdin and stdout are a pty's: `input` is searched for the detach keys. */
  terminal: boolean;
  /** Docker's syntax, default `ctrl-p,ctrl-q`. */
  detachKeys?: string;
  /** This process's own side, default 0, 1 and 2; never closed. */
  input?: number;
  output?: number;
  errorOutput?: number;
}

/**
 * An event line of a monitor (ARCHITECTURE.md, "The connection"). `detached`: the detach keys were typed.
 * `lost`: the connection ended without a last event: the monitor is gone, `Database.reconcile` knows the rest.
 */
export type MonitorEvent =
  | { event: 'started'; pid: number }
  | { event: 'failed'; exitCode: 125 | 126 | 127; code: string; message: string; errno?: number }
  | { event: 'exited'; exitCode: number; signal?: number | null; oomKilled: boolean; finishedAt: string }
  | { event: 'detached' }
  | { event: 'lost' };

/** A line of the connection that answers a request. */
export type MonitorReply = { reply: 'ok' } | { reply: 'error'; code: string; message: string };

type Outcome<T> = T | { failure: Failure };

/** The addon as it is: database rows and lines of the connection cross as JSON, failures as values. */
interface Addon {
  spawn(options: SpawnOptions): Outcome<number>;
  reap(pid: number): Promise<Outcome<ChildExit>>;
  memfd(content: string | Uint8Array): Outcome<number>;
  pipe(): Outcome<[read: number, write: number]>;
  socketpair(): Outcome<[number, number]>;
  close(fd: number): Outcome<void>;
  lockExclusive(path: string): Outcome<number>;
  tryLock(path: string): Outcome<number | null>;
  syncFileSystem(path: string): Promise<Outcome<void>>;
  connect(path: string): Outcome<number>;
  send(fd: number, line: string, fds: number[]): Outcome<void>;
  receive(fd: number): Promise<Outcome<string | null>>;
  pump(options: PumpOptions, onEvent: (line: string) => void): Promise<Outcome<string>>;
  Database: { open(path: string): Outcome<NativeDatabase> };
}

interface NativeDatabase {
  close(): void;
  checkpoint(): Promise<Outcome<void>>;
  insertContainer(json: string): Outcome<void>;
  container(reference: string): Outcome<string>;
  containers(json: string): Outcome<string>;
  starting(id: string): Outcome<void>;
  started(id: string, pid: number, at: string): Outcome<boolean>;
  paused(id: string): Outcome<void>;
  unpaused(id: string): Outcome<void>;
  exited(id: string, json: string): Outcome<boolean>;
  rename(id: string, name: string): Outcome<void>;
  updateDocument(id: string, json: string): Outcome<void>;
  removeContainer(id: string): Outcome<string>;
  insertImage(json: string, action: string): Outcome<void>;
  image(reference: string): Outcome<string>;
  images(): Outcome<string>;
  tag(reference: string, id: string): Outcome<void>;
  untag(reference: string): Outcome<void>;
  removeImage(id: string, force: boolean): Outcome<string>;
  insertLayer(json: string): Outcome<void>;
  layer(diffId: string): Outcome<string>;
  layers(): Outcome<string>;
  insertVolume(json: string): Outcome<boolean>;
  volume(name: string): Outcome<string>;
  volumes(): Outcome<string>;
  removeVolume(name: string): Outcome<void>;
  appendEvent(json: string): Outcome<void>;
  events(json: string): Outcome<string>;
  reconcile(runRoot: string): Outcome<string>;
}

const TRIPLE = `linux-${process.arch}-gnu`;

let loaded: { addon: Addon; directory: string } | undefined;

/** The directory of this machine's package: the repository's own `npm/`, else the one npm installed. */
function packageDirectory(): string {
  // This file and its bundle (dist/*.js) both lie one level below the package's root.
  const local = fileURLToPath(new URL(`../npm/${TRIPLE}/`, import.meta.url));
  if (existsSync(`${local}kapsel.${TRIPLE}.node`)) return local;
  const manifest = `kapsel-${TRIPLE}/package.json`;
  try {
    return createRequire(import.meta.url)
      .resolve(manifest)
      .slice(0, -'package.json'.length);
  } catch {
    throw missing(existsSync(local));
  }
}

/** Why there is no addon, in one line. */
function missing(repository: boolean): UnsupportedError {
  const machine = `${process.platform} on ${process.arch}`;
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
    return new UnsupportedError('PLATFORM_UNSUPPORTED', `kapsel runs on Linux on x64 and arm64, not on ${machine}`);
  }
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  if (report.header?.glibcVersionRuntime === undefined) {
    return new UnsupportedError('PLATFORM_UNSUPPORTED', 'kapsel needs a Node built for glibc; this one is for musl');
  }
  return repository
    ? new UnsupportedError('NATIVE_MISSING', `npm/${TRIPLE}/kapsel.${TRIPLE}.node is not built`, {
        hint: 'run `npm run build`',
      })
    : new UnsupportedError('NATIVE_MISSING', `the package kapsel-${TRIPLE} is not installed`, {
        hint: 'install kapsel again without --omit=optional',
      });
}

function load(): { addon: Addon; directory: string } {
  if (loaded) return loaded;
  const directory = packageDirectory();
  const file = `${directory}kapsel.${TRIPLE}.node`;
  const module = { exports: {} as Addon };
  try {
    process.dlopen(module, file);
  } catch (cause) {
    const reason = (cause as Error).message.split('\n', 1)[0];
    throw new UnsupportedError('NATIVE_UNUSABLE', `${file} cannot be loaded: ${reason}`, { cause });
  }
  loaded = { addon: module.exports, directory };
  return loaded;
}

function unwrap<T>(outcome: Outcome<T>): T {
  if (typeof outcome === 'object' && outcome !== null && 'failure' in outcome) {
    throw errorFrom(outcome.failure);
  }
  return outcome;
}

/** The absolute path of `kapsel-runtime`. */
export function runtimePath(): string {
  return `${load().directory}kapsel-runtime`;
}

/** Starts a process and returns its pid; `reap` must be called for it unless this process is about to end. */
export function spawn(options: SpawnOptions): number {
  return unwrap(load().addon.spawn(options));
}

/** Waits for exactly that child of `spawn`. */
export async function reap(pid: number): Promise<ChildExit> {
  return unwrap(await load().addon.reap(pid));
}

/** An anonymous file holding `content`, its offset at 0. */
export function memfd(content: string | Uint8Array): number {
  return unwrap(load().addon.memfd(content));
}

/** A pipe, close-on-exec: `[read, write]`. */
export function pipe(): [read: number, write: number] {
  return unwrap(load().addon.pipe());
}

/** A pair of connected stream sockets, close-on-exec. */
export function socketpair(): [number, number] {
  return unwrap(load().addon.socketpair());
}

/** Closes a descriptor made here. */
export function close(fd: number): void {
  unwrap(load().addon.close(fd));
}

/** Makes the file, and its directories (0700), where missing, and locks it; throws LOCK_IN_USE where another holds it. */
export function lockExclusive(path: string): number {
  return unwrap(load().addon.lockExclusive(path));
}

/** As `lockExclusive`, but does not wait, not even for those who only test it; undefined where another holds it. */
export function tryLock(path: string): number | undefined {
  return unwrap(load().addon.tryLock(path)) ?? undefined;
}

/** Everything written so far to the file system of this path is on the disk (syncfs). */
export async function syncFileSystem(path: string): Promise<void> {
  unwrap(await load().addon.syncFileSystem(path));
}

/** Connects to a monitor's control socket; the path may be longer than 107 bytes. */
export function connect(path: string): number {
  return unwrap(load().addon.connect(path));
}

/** Sends one request with its descriptors, which stay the caller's to close. */
export function send(connection: number, request: object, fds: number[] = []): void {
  unwrap(load().addon.send(connection, JSON.stringify(request), fds));
}

/** The next line of the connection, undefined at its end; reads nothing beyond it, so `pump` may follow. */
export async function receive(connection: number): Promise<MonitorEvent | MonitorReply | undefined> {
  const line = unwrap(await load().addon.receive(connection));
  return line === null ? undefined : (JSON.parse(line) as MonitorEvent | MonitorReply);
}

/**
 * Copies this process's stdio to and from a container on a thread of its own, until the monitor says how it ended
 * and everything has been written. An input that stays open never delays the end; a closed output is not an error.
 * `onEvent` gets `started`. Requests may be sent on the connection meanwhile; their replies are dropped.
 */
export async function pump(
  options: PumpOptions,
  onEvent?: (event: MonitorEvent) => void,
): Promise<Exclude<MonitorEvent, { event: 'started' }>> {
  const line = await load().addon.pump(options, (text) => onEvent?.(JSON.parse(text) as MonitorEvent));
  return JSON.parse(unwrap(line)) as Exclude<MonitorEvent, { event: 'started' }>;
}

/**
 * The state of one engine. Its calls are synchronous: each takes tens of microseconds, a wait for another writer
 * included at most ten seconds. Every change appends its event in the same transaction. Times are RFC 3339, UTC,
 * with nanoseconds. A reference is a full id, a name, or an unambiguous prefix of an id, in this order.
 */
export class Database {
  readonly #native: NativeDatabase;

  /** Opens, and where there is none makes, the database at this path; its directory must exist. */
  constructor(path: string) {
    this.#native = unwrap(load().addon.Database.open(path));
  }

  /** Not needed before the process ends. */
  close(): void {
    this.#native.close();
  }

  /** Moves what was written into the main file if there is much of it; for an idle moment. */
  async checkpoint(): Promise<void> {
    unwrap(await this.#native.checkpoint());
  }

  /** A new container, `created` or at once `starting`. Event `create`. Throws NAME_IN_USE, IMAGE_NOT_FOUND. */
  insertContainer(container: NewContainer): void {
    unwrap(this.#native.insertContainer(JSON.stringify(container)));
  }

  /** Throws CONTAINER_NOT_FOUND, CONTAINER_AMBIGUOUS. */
  container(reference: string): ContainerRow {
    return JSON.parse(unwrap(this.#native.container(reference))) as ContainerRow;
  }

  /** Newest first. */
  containers(filter: ContainerFilter = {}): ContainerRow[] {
    return JSON.parse(unwrap(this.#native.containers(JSON.stringify(filter)))) as ContainerRow[];
  }

  /** `created` or `exited` → `starting`; the caller holds the lock. Throws CONTAINER_CONFLICT otherwise. */
  starting(id: string): void {
    unwrap(this.#native.starting(id));
  }

  /** `starting` → `running`. Event `start`. False where the container has already ended. */
  started(id: string, pid: number, at: string = now()): boolean {
    return unwrap(this.#native.started(id, pid, at));
  }

  /** `running` → `paused`. Event `pause`. */
  paused(id: string): void {
    unwrap(this.#native.paused(id));
  }

  /** `paused` → `running`. Event `unpause`. */
  unpaused(id: string): void {
    unwrap(this.#native.unpaused(id));
  }

  /** Any living status → `exited`. Event `die`. False where somebody else has recorded it. */
  exited(id: string, exit: Exit): boolean {
    return unwrap(this.#native.exited(id, JSON.stringify(exit)));
  }

  /** Event `rename`. Throws NAME_IN_USE. */
  rename(id: string, name: string): void {
    unwrap(this.#native.rename(id, name));
  }

  /** Event `update`. */
  updateDocument(id: string, document: unknown): void {
    unwrap(this.#native.updateDocument(id, JSON.stringify(document)));
  }

  /**
   * Forgets a container that is not alive (CONTAINER_CONFLICT). Event `destroy`. Returns the layers nobody uses any
   * more, which are forgotten too: their trees are the caller's to remove.
   */
  removeContainer(id: string): string[] {
    return JSON.parse(unwrap(this.#native.removeContainer(id))) as string[];
  }

  /**
   * Records an image whose layers are all recorded (LAYER_NOT_FOUND), and points its references at it, taking them
   * from whichever image had them. Replaces the row of the same id. Event `pull`, `load` or `import`.
   */
  insertImage(image: NewImage, action: 'pull' | 'load' | 'import' = 'pull'): void {
    unwrap(this.#native.insertImage(JSON.stringify(image), action));
  }

  /** By reference, id, or prefix of an id (with or without `sha256:`). Throws IMAGE_NOT_FOUND, IMAGE_AMBIGUOUS. */
  image(reference: string): ImageRow {
    return JSON.parse(unwrap(this.#native.image(reference))) as ImageRow;
  }

  /** Newest first. */
  images(): ImageRow[] {
    return JSON.parse(unwrap(this.#native.images())) as ImageRow[];
  }

  /** Points a reference at an image. Event `tag`. */
  tag(reference: string, id: string): void {
    unwrap(this.#native.tag(reference, id));
  }

  /** Removes a reference, not the image. Event `untag`. Throws IMAGE_NOT_FOUND. */
  untag(reference: string): void {
    unwrap(this.#native.untag(reference));
  }

  /**
   * Forgets an image and its references. Events `untag`, `delete`. Throws IMAGE_IN_USE where a container uses it: a
   * living one always, another unless `force`. Returns the layers nobody uses any more, as `removeContainer`.
   */
  removeImage(id: string, force = false): string[] {
    return JSON.parse(unwrap(this.#native.removeImage(id, force))) as string[];
  }

  /** Records a layer whose tree is in place; replaces the row of the same diffID. */
  insertLayer(layer: LayerRow): void {
    unwrap(this.#native.insertLayer(JSON.stringify(layer)));
  }

  layer(diffId: string): LayerRow | undefined {
    return (JSON.parse(unwrap(this.#native.layer(diffId))) as LayerRow | null) ?? undefined;
  }

  layers(): LayerRow[] {
    return JSON.parse(unwrap(this.#native.layers())) as LayerRow[];
  }

  /** True and event `create` where it is new; false where there is one of that name. */
  insertVolume(volume: NewVolume): boolean {
    return unwrap(this.#native.insertVolume(JSON.stringify(volume)));
  }

  /** Throws VOLUME_NOT_FOUND. */
  volume(name: string): VolumeRow {
    return JSON.parse(unwrap(this.#native.volume(name))) as VolumeRow;
  }

  volumes(): VolumeRow[] {
    return JSON.parse(unwrap(this.#native.volumes())) as VolumeRow[];
  }

  /** Event `destroy`. Throws VOLUME_NOT_FOUND; who uses it is in the containers' documents, the caller's to ask. */
  removeVolume(name: string): void {
    unwrap(this.#native.removeVolume(name));
  }

  /** An event without a change of state: `kill`, `exec_create`, `exec_start`, `exec_die`, `attach`, `mount`, … */
  appendEvent(event: NewEvent): void {
    unwrap(this.#native.appendEvent(JSON.stringify(event)));
  }

  /** Oldest first. To follow, watch the database's directory and ask for those `after` the last seq. */
  events(filter: EventFilter = {}): EventRow[] {
    return JSON.parse(unwrap(this.#native.events(JSON.stringify(filter)))) as EventRow[];
  }

  /** Finds containers whose monitor is gone, records their end, and says what is left to clean. Cheap when all is well. */
  reconcile(runRoot: string): Reconciled {
    return JSON.parse(unwrap(this.#native.reconcile(runRoot))) as Reconciled;
  }
}

/** The present time in the form the database keeps. */
export function now(): string {
  return new Date().toISOString().replace('Z', '000000Z');
}
