#!/usr/bin/env node
// The executable: V8's compile cache first, because it serves only what is loaded after it, then the dispatcher.
import { enableCompileCache } from 'node:module';

const cache = process.env['XDG_CACHE_HOME'] ?? (process.env['HOME'] && `${process.env['HOME']}/.cache`);
if (cache) enableCompileCache(`${cache}/kapsel/compiled`);

void import('./main.ts').then(async ({ main }) => process.exit(await main(process.argv.slice(2))));
