// Bundles the TypeScript into dist/: kapsel.js and main.cjs (the executable), oclif.cjs (help and plugins), index.js
// (the SDK), the chunks they load when they need them, and the declarations. Called by scripts/build.ts.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, rename, rm } from 'node:fs/promises';
import { type InputOptions, type OutputOptions, rolldown } from 'rolldown';

const repository = new URL('..', import.meta.url).pathname;
const dist = `${repository}dist`;
/** Everything is made beside dist/ and takes its place at the end, so that a failed build leaves the last good one. */
const half = `${repository}.cache/dist-${process.pid}`;

const minify = process.env['KAPSEL_MINIFY'] !== '0';
const common = {
  cwd: repository,
  platform: 'node',
  checks: { circularDependency: false, ineffectiveDynamicImport: false },
} satisfies InputOptions;

async function write(input: InputOptions, output: OutputOptions): Promise<void> {
  const build = await rolldown({ ...common, ...input });
  // Every chunk lies directly in dist/: native.ts looks for its package one level above itself.
  await build.write({ dir: half, minify, ...output });
  await build.close();
}

/**
 * Node's slower modules, loaded at the first use instead of at the start: node:crypto alone is three milliseconds,
 * and `kapsel ps` needs none of them. An import is a property access in the bundle, so a proxy can wait for it.
 */
const slow = ['child_process', 'crypto', 'fs/promises', 'http', 'https', 'net', 'stream', 'stream/consumers'].concat([
  'stream/promises',
  'timers/promises',
  'tls',
  'zlib',
]);

const lazyBuiltins = {
  name: 'lazy-builtins',
  renderChunk(code: string) {
    const lazy = code.replaceAll(/\brequire\((["'`])node:([a-z/_]+)\1\)/g, (found, _quote, name: string) =>
      slow.includes(name) ? `lazily(${JSON.stringify(`node:${name}`)})` : found,
    );
    if (lazy === code) return null;
    return `${lazily}\n${lazy}`;
  },
};

// A default import makes rolldown copy the module's own properties: there are none to copy before it is loaded, and
// the copy finds them all the same, for the proxy is its prototype.
const lazily = `
  function lazily(name) {
    const load = () => process.getBuiltinModule(name);
    const proxy = new Proxy({}, {
      get: (_, key) => (key === '__esModule' ? undefined : load()[key]),
      getPrototypeOf: () => proxy,
    });
    return proxy;
  }
`;

/** What is loaded in any case is one file, however many lazy parts share some of it: each further file costs a start. */
function oneFile(name: string, test: RegExp) {
  return { groups: [{ name, test }] };
}

/** CommonJS: with V8's compile cache it starts five milliseconds sooner than the same code as ES modules. */
async function commands(): Promise<void> {
  await write(
    {
      input: { main: 'src/cli/main.ts', oclif: 'src/cli/oclif.ts' },
      preserveEntrySignatures: 'allow-extension',
      plugins: [lazyBuiltins],
    },
    {
      format: 'cjs',
      entryFileNames: '[name].cjs',
      chunkFileNames: '[name].cjs',
      exports: 'named',
      codeSplitting: oneFile('main', /\/src\/cli\/main\.ts$/),
    },
  );
}

/** What npm links as `kapsel`. It must be an ES module, as the package is. */
async function launcher(): Promise<void> {
  const toBundle = {
    name: 'main-is-bundled',
    transform: (code: string, id: string) =>
      id.endsWith('/src/cli/kapsel.ts') ? code.replace("('./main.ts')", "('./main.cjs')") : null,
  };
  await write({ input: { kapsel: 'src/cli/kapsel.ts' }, plugins: [toBundle] }, { format: 'esm' });
  await chmod(`${half}/kapsel.js`, 0o755);
}

async function sdk(): Promise<void> {
  const codeSplitting = oneFile('index', /\/src\/index\.ts$/);
  await write({ input: { index: 'src/index.ts' } }, { format: 'esm', chunkFileNames: '[name].js', codeSplitting });
}

/** Of the SDK and what it refers to: a configuration of its own, for tsc writes beside what lies outside its root. */
async function declarations(): Promise<void> {
  const child = spawn(
    `${repository}node_modules/.bin/tsc`,
    ['--project', 'tsconfig.types.json', '--outDir', `${half}/types`],
    { cwd: repository, stdio: 'inherit' },
  );
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`tsc ended with ${code}: the declarations are incomplete`);
}

try {
  await Promise.all([commands(), launcher(), sdk()]);
  if (!process.argv.includes('--no-types')) await declarations();
  await rm(dist, { recursive: true, force: true });
  await rename(half, dist);
} finally {
  await rm(half, { recursive: true, force: true });
}
