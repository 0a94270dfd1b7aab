#!/usr/bin/env node
// The executable: V8's compile cache first, because it serves only what is loaded after it, then the dispatcher.
// Nothing is imported: an ES module's import of node:fs reads all that it exports (node:fs/promises with it), and one of
// CommonJS reads that through once more to find its exports. Together that is three milliseconds.
import type { main as Main } from './main.ts';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 13)) {
  console.error(`kapsel: Node ${process.versions.node} is too old: kapsel needs Node 22.13 or later`);
  process.exit(125);
}

const { createRequire, enableCompileCache } = process.getBuiltinModule('node:module');
const { statSync } = process.getBuiltinModule('node:fs');

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
const base = XDG_CACHE_HOME || HOME;
if (base && isOwn(base)) enableCompileCache(`${base}${XDG_CACHE_HOME ? '' : '/.cache'}/kapsel/compiled`);

const { main } = createRequire(import.meta.url)('./main.ts') as { main: typeof Main };
void main(process.argv.slice(2)).then((code) => process.exit(code));
