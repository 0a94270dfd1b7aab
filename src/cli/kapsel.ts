#!/usr/bin/env node
// The executable: V8's compile cache first, because it serves only what is loaded after it, then the dispatcher.
import { statSync } from 'node:fs';
import { enableCompileCache } from 'node:module';

/**
 * What the cache holds runs as code, and V8 only checks that it fits the source: the directory above it must be this
 * user's alone. `sudo` often keeps HOME, and root must not run what HOME's owner put there.
 */
function isOwn(directory: string): boolean {
  try {
    const { uid, mode } = statSync(directory);
    return uid === process.geteuid?.() && (mode & 0o022) === 0;
  } catch {
    return false;
  }
}

const { HOME, XDG_CACHE_HOME } = process.env;
const base = XDG_CACHE_HOME ?? HOME;
if (base && isOwn(base)) enableCompileCache(`${base}${XDG_CACHE_HOME ? '' : '/.cache'}/kapsel/compiled`);

void import('./main.ts').then(async ({ main }) => process.exit(await main(process.argv.slice(2))));
