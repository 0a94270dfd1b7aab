// Where programs are found.

import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** Whether one of the directories of `path` (as of $PATH) has the program, to be executed by this user. */
export function isInPath(path: string, program: string): boolean {
  return path.split(':').some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
