// `npm start`: sets everything up and runs the main job; `npm start -- ARGS` is `kapsel ARGS`.

import { join } from 'node:path';
import { become, repository, setup } from './setup.mjs';

setup();
const args = process.argv.slice(2);
become([join(repository, 'dist/kapsel.js'), ...(args.length > 0 ? args : ['demo'])]);
