// Run by pull.test.ts in a mount namespace whose only small disk is argv[2]: pulls argv[3] where it cannot fit, then
// grows the disk and pulls again. Prints what happened as JSON.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Images } from '../../src/engine/images.ts';
import { Database } from '../../src/native.ts';

const [, , disk, name] = process.argv as [string, string, string, string];
const root = join(disk, 'root');
mkdirSync(root);
const database = new Database(join(root, 'kapsel.db'));
const images = new Images({ root, database });
const failure = await images.pull(name).then(
  () => ({ code: 'it fitted', message: '' }),
  ({ code, message }: { code: string; message: string }) => ({ code, message }),
);
const left = ['layers', 'tmp', 'blobs/sha256'].flatMap((directory) => {
  try {
    return readdirSync(join(root, directory));
  } catch {
    return [];
  }
});
execFileSync('mount', ['-o', 'remount,size=600m', disk]);
const retried = await images.pull(name).then(
  () => true,
  (error: Error) => error.message,
);
images.close();
console.log(JSON.stringify({ ...failure, left, retried }));
