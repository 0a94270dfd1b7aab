// The native side, for the engine: processes, descriptors, the connection to a monitor, the pump and the database.
// Nothing else in the project calls the addon (crates/node). Failures are thrown as the classes of engine/errors.ts.

import { load, unwrap } from './native/load.ts';
import type {
  ChildExit,
  Compressed,
  CompressOptions,
  MonitorEvent,
  MonitorReply,
  PumpEnd,
  PumpOptions,
  SpawnOptions,
} from './native/options.ts';

export { runtimePath } from './native/load.ts';
export { Database, now } from './native/database.ts';
export type * from './native/options.ts';
export type * from './native/rows.ts';

/** Starts a process and returns its pid; `reap` must be called for it unless this process is about to end. */
export function spawn(options: SpawnOptions): number {
  return unwrap(load().addon.spawn(options));
}

/** Waits for exactly that child of `spawn`. */
export async function reap(pid: number): Promise<ChildExit> {
  const { exitCode = null, signal = null } = unwrap(await load().addon.reap(pid));
  return { exitCode, signal };
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

/**
 * Makes the file, and its directory (0700), where missing, and locks it, waiting at most `patience` milliseconds;
 * throws LOCK_IN_USE where another holds it for longer. Reconciliation tests locks by holding them for some
 * microseconds, hence the patience. What is returned locks the file of that name: not one removed meanwhile.
 */
export function lockExclusive(path: string, patience = 200): number {
  return unwrap(load().addon.lockExclusive(path, patience));
}

/** As `lockExclusive`, but does not wait, not even for those who only test it; undefined where another holds it. */
export function tryLock(path: string): number | undefined {
  const outcome = load().addon.lockExclusive(path, 0);
  if (typeof outcome === 'object' && outcome.failure.code === 'LOCK_IN_USE') return undefined;
  return unwrap(outcome);
}

/** Gives a file that has no name (O_TMPFILE) one; a failure with EEXIST where something has it. */
export function linkDescriptor(fd: number, path: string): void {
  unwrap(load().addon.linkDescriptor(fd, path));
}

/** Removes a run directory whose lock the caller holds; one made anew meanwhile is not touched. */
export function removeRunDirectory(path: string): void {
  unwrap(load().addon.removeRunDirectory(path));
}

/** Whether every one of these paths leads somewhere: one call for all the layers of an image. */
export function areThere(paths: readonly string[]): boolean {
  return load().addon.areThere(paths);
}

/** Everything written so far to the file system of this path is on the disk (syncfs). */
export async function syncFileSystem(path: string): Promise<void> {
  unwrap(await load().addon.syncFileSystem(path));
}

/** Compresses a stream, on as many threads as there are processors; the bytes do not depend on how many. */
export async function compress(options: CompressOptions): Promise<Compressed> {
  return unwrap(await load().addon.compress(options));
}

/** `sha256:` and 64 hexadecimal digits. Loading node:crypto, which has the same, takes longer than to hash a pull's manifests. */
export function sha256(bytes: Uint8Array): string {
  return load().addon.sha256(bytes);
}

/** Connects to a monitor's control socket; the path may be longer than 107 bytes. */
export function connect(path: string): number {
  return unwrap(load().addon.connect(path));
}

/** Sends one request with its descriptors, which stay the caller's to close. Waits where the monitor does not read. */
export function send(connection: number, request: object, fds: readonly number[] = []): void {
  unwrap(load().addon.send(connection, JSON.stringify(request), fds, true));
}

/** As `send`, but never waits: gives what is left of it, the caller's to write. */
export function sendSome(connection: number, request: object, fds: readonly number[]): Buffer | undefined {
  const line = JSON.stringify(request);
  const left = unwrap(load().addon.send(connection, line, fds, false));
  return left === 0 ? undefined : Buffer.from(`${line}\n`).subarray(-left);
}

/**
 * Copies this process's stdio to and from a container on a thread of its own, until the monitor says how it ended and
 * everything has been written. An input that stays open never delays the end. `onEvent` gets the events before the
 * last, `started` among them, always before the promise resolves. Requests may be sent on the connection meanwhile;
 * their replies are dropped.
 */
export async function pump(options: PumpOptions, onEvent: (event: MonitorEvent) => void = () => {}): Promise<PumpEnd> {
  let told = 0;
  const tell = (line: string) => {
    told += 1;
    const parsed = JSON.parse(line) as MonitorEvent | MonitorReply;
    if ('event' in parsed) onEvent(parsed);
  };
  let ended = false;
  const lines = unwrap(await load().addon.pump(options, (line) => void (ended || tell(line))));
  // The two ways into this thread keep no order between them: what has not come by the first has come by the second.
  ended = true;
  const last = lines.pop() ?? '{"event":"lost"}';
  for (const line of lines.slice(told)) tell(line);
  return JSON.parse(last) as PumpEnd;
}
