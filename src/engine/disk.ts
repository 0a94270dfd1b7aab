// What the file system refused, as an error of ours with a hint. Other errors pass unchanged.

import { KapselError, StorageError } from './errors.ts';

const known: Record<string, { code: string; what: string; hint: string }> = {
  ENOSPC: { code: 'DISK_FULL', what: 'no space left on the disk', hint: 'remove containers, images or volumes' },
  EDQUOT: { code: 'DISK_FULL', what: 'the disk quota is used up', hint: 'remove containers, images or volumes' },
  EACCES: {
    code: 'STORAGE_REFUSED',
    what: 'permission denied',
    hint: 'run kapsel as the owner, or give another --root',
  },
  EPERM: { code: 'STORAGE_REFUSED', what: 'not permitted', hint: 'run kapsel as the owner, or give another --root' },
  EROFS: { code: 'STORAGE_REFUSED', what: 'the file system is read-only', hint: 'give another --root' },
};

export function diskError(error: unknown): unknown {
  if (error instanceof KapselError || !(error instanceof Error)) return error;
  const { code = '', path, errno } = error as NodeJS.ErrnoException;
  const reason = known[code];
  if (reason === undefined) return error;
  return new StorageError(reason.code, `${path ?? 'a file of the engine'}: ${reason.what}`, {
    exitCode: 125,
    hint: reason.hint,
    cause: error,
    ...(errno === undefined ? {} : { errno: Math.abs(errno) }),
  });
}
