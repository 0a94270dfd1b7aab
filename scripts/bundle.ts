// Bundles the TypeScript into dist/: kapsel.js (the executable), index.js (the SDK), oclif.js (help and plugins),
// chunks that are loaded when they are needed, and the declarations. Called by scripts/build.ts.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, rm } from 'node:fs/promises';
import { rolldown } from 'rolldown';

const repository = new URL('..', import.meta.url).pathname;
const dist = `${repository}dist`;

async function bundle(): Promise<void> {
  const build = await rolldown({
    cwd: repository,
    platform: 'node',
    input: { kapsel: 'src/cli/kapsel.ts', oclif: 'src/cli/oclif.ts', index: 'src/index.ts' },
    treeshake: true,
    checks: { circularDependency: false },
  });
  await build.write({
    dir: dist,
    format: 'esm',
    // Every chunk lies directly in dist/: native.ts looks for its package one level above itself.
    entryFileNames: '[name].js',
    chunkFileNames: '[name].js',
    minify: process.env['KAPSEL_MINIFY'] !== '0',
  });
  await build.close();
  await chmod(`${dist}/kapsel.js`, 0o755);
}

async function declarations(): Promise<void> {
  const options = ['--declaration', '--emitDeclarationOnly', '--noEmit', 'false', '--rewriteRelativeImportExtensions'];
  const child = spawn(
    `${repository}node_modules/.bin/tsc`,
    ['--project', 'tsconfig.json', ...options, '--rootDir', 'src', '--outDir', 'dist/types'],
    { cwd: repository, stdio: 'inherit' },
  );
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`tsc ended with ${code}: the declarations are incomplete`);
}

await rm(dist, { recursive: true, force: true });
await bundle();
if (!process.argv.includes('--no-types')) await declarations();
