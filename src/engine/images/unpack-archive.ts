// Archives as users give them: a path, or a stream. An archive of images becomes a directory, in a confined worker.

import { openSync, statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { StorageError } from '../errors.ts';
import { type Input, unpack } from './worker.ts';

export async function unpackArchive(archive: string | Readable, into: string, signal?: AbortSignal): Promise<void> {
  await unpack(inputOf(archive), { into, mode: 'archive', signal });
}

/** Some formats need no archive: `oci:` and `dir:`. */
export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

export function inputOf(archive: string | Readable): Input {
  if (typeof archive !== 'string') return { bytes: () => archive };
  try {
    return { fd: openSync(archive, 'r') };
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (cause as Error).message;
    throw new StorageError('ARCHIVE_UNREADABLE', `cannot read ${archive}: ${reason}`, { cause });
  }
}
