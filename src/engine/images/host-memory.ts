// What each `host:` image was made of, so that the next run can tell by a few lstats that it still fits.
// Read on the way to every container of such an image: no process, no hash, no slow module.

import { type BigIntStats, lstatSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { runtimePath } from '../../native.ts';
import type { HostSource } from './worker.ts';

export const hostPrefix = 'host:';

/** Docker's PATH of an image that sets none. */
export const usualPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Decides which file a library's name means. */
const loaderCache = '/etc/ld.so.cache';

interface Memory {
  reference: string;
  /** Another PATH may find other programs of the same names. */
  path: string;
  imageId: string;
  sources: HostSource[];
  /** What decided which files those are, and what was put beside them. An older kapsel did not write it. */
  deciding?: Watched[];
}

/** A file or directory, wherever links lead. */
interface Watched {
  path: string;
  /** Null where there was none. */
  state: string | null;
}

/** Where programs are looked for: the user's PATH, and the sbin directories that an ordinary user's may lack. */
export function searchPath(env: NodeJS.ProcessEnv = process.env): string {
  return [...new Set([...(env.PATH ?? '').split(delimiter), ...usualPath.split(':')])].filter(Boolean).join(':');
}

/** The id of the image made earlier, if every file that it was made of is still the same. */
export function recall(root: string, reference: string): string | undefined {
  let memory: Memory;
  try {
    memory = JSON.parse(readFileSync(fileOf(root, reference), 'utf8')) as Memory;
  } catch {
    return undefined;
  }
  // Two long references may share a file: it is the last one's.
  if (memory.reference !== reference || memory.path !== searchPath()) return undefined;
  const watched = deciding();
  const decides = ({ path, state }: Watched, index: number): boolean =>
    path === watched[index] && state === stateOf(path);
  const isSame = memory.deciding?.length === watched.length && memory.deciding.every(decides);
  return isSame && memory.sources.every(isUnchanged) ? memory.imageId : undefined;
}

/** The caller holds the lock. */
export function remember(root: string, reference: string, imageId: string, sources: readonly HostSource[]): void {
  const path = fileOf(root, reference);
  const watched = deciding().map((one) => ({ path: one, state: stateOf(one) }));
  const memory: Memory = { reference, path: searchPath(), imageId, sources: [...sources], deciding: watched };
  const temporary = `${path}.new`;
  writeFileSync(temporary, JSON.stringify(memory));
  renameSync(temporary, path);
}

/** Held while an image of this name is made. */
export function memoryLock(root: string, reference: string): string {
  const path = `${fileOf(root, reference)}.lock`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return path;
}

function fileOf(root: string, reference: string): string {
  return join(root, 'cache', 'host', `${encodeURIComponent(reference).slice(0, 200)}.json`);
}

/** The loader's list of libraries, our own executable, and PATH's directories: one changes when a program appears in it. */
function deciding(): string[] {
  return [loaderCache, runtimePath(), ...searchPath().split(delimiter)];
}

function stateOf(path: string): string | null {
  try {
    const status = statSync(path, { bigint: true, throwIfNoEntry: false });
    return status ? `${status.dev} ${status.ino} ${status.size} ${status.mtimeNs}` : null;
  } catch {
    return null; // Nothing that this user may look at.
  }
}

function isUnchanged({ path, size, mtime, inode }: HostSource): boolean {
  // A link of the image's own: nothing on this machine to compare it with.
  if (inode === 0) return true;
  const now = described(path);
  return now !== undefined && now.size === size && now.mtime === mtime && now.inode === inode;
}

/** A file as `kapsel-runtime host --list` describes it; nothing where there is none that this user may look at. */
function described(path: string): HostSource | undefined {
  let status: BigIntStats | undefined;
  try {
    status = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
  if (!status) return undefined;
  const seconds = status.mtimeNs / 1_000_000_000n;
  const nanoseconds = String(status.mtimeNs % 1_000_000_000n).padStart(9, '0');
  return { path, size: Number(status.size), mtime: `${seconds}.${nanoseconds}`, inode: Number(status.ino) };
}
