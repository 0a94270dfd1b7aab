// `--cidfile`: the container's id in a file, which must not be there before, and is not there after a failure.
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { Failure, messageOf } from '../cli/failure.ts';

export interface CidFile {
  write(id: string): void;
  /** Removes the file if no id was written to it. */
  close(): void;
}

export function openCidFile(path: string | undefined): CidFile {
  if (path === undefined) return { write() {}, close() {} };
  let descriptor: number;
  try {
    descriptor = openSync(path, 'wx', 0o644);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new Failure(`container ID file found, make sure the other container isn't running or delete ${path}`, 125);
    }
    throw new Failure(`failed to create the container ID file: ${messageOf(error)}`, 125);
  }
  let written = false;
  return {
    write(id) {
      writeSync(descriptor, id);
      written = true;
    },
    close() {
      closeSync(descriptor);
      if (!written) unlinkSync(path);
    },
  };
}
