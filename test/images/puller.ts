// A process that pulls, for tests that kill it: `node puller.ts ROOT REFERENCE`.

import { join } from 'node:path';
import { Images } from '../../src/engine/images.ts';
import { Database } from '../../src/native.ts';

const [root = '', reference = ''] = process.argv.slice(2);
const database = new Database(join(root, 'kapsel.db'));
const images = new Images({ root, database }, { env: { HOME: root } });
await images.pull(reference);
images.close();
database.close();
