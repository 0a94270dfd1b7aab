// Finds and loads the addon, and knows the executable beside it; nothing else in the project does.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { errorFrom, UnsupportedError } from '../engine/errors.ts';
import type { Addon, Outcome } from './addon.ts';

const TRIPLE = `linux-${process.arch}-gnu`;

let loaded: { addon: Addon; directory: string } | undefined;

/** The directory of this machine's package: the repository's own `npm/`, else the one npm installed. */
function packageDirectory(): string {
  // This file lies two levels below the package's root, its bundle (dist/*.js) one: there is no dist/npm.
  const here = import.meta.url;
  const local = fileURLToPath(
    new URL(here.endsWith('/src/native/load.ts') ? `../../npm/${TRIPLE}/` : `../npm/${TRIPLE}/`, here),
  );
  if (existsSync(`${local}kapsel.${TRIPLE}.node`)) return local;
  const manifest = `kapsel-${TRIPLE}/package.json`;
  try {
    return createRequire(import.meta.url)
      .resolve(manifest)
      .slice(0, -'package.json'.length);
  } catch {
    throw missing(existsSync(local));
  }
}

/** Why there is no addon, in one line. */
function missing(repository: boolean): UnsupportedError {
  const machine = `${process.platform} on ${process.arch}`;
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
    return new UnsupportedError('PLATFORM_UNSUPPORTED', `kapsel runs on Linux on x64 and arm64, not on ${machine}`);
  }
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  if (report.header?.glibcVersionRuntime === undefined) {
    return new UnsupportedError('PLATFORM_UNSUPPORTED', 'kapsel needs a Node built for glibc; this one is for musl');
  }
  return repository
    ? new UnsupportedError('NATIVE_MISSING', `npm/${TRIPLE}/kapsel.${TRIPLE}.node is not built`, {
        hint: 'run `npm run build`',
      })
    : new UnsupportedError('NATIVE_MISSING', `the package kapsel-${TRIPLE} is not installed`, {
        hint: 'install kapsel again without --omit=optional',
      });
}

/** Loads the addon at the first call. */
export function load(): { addon: Addon; directory: string } {
  if (loaded) return loaded;
  const directory = packageDirectory();
  const file = `${directory}kapsel.${TRIPLE}.node`;
  const module = { exports: {} as Addon };
  try {
    process.dlopen(module, file);
  } catch (cause) {
    const reason = (cause as Error).message.split('\n', 1)[0];
    throw new UnsupportedError('NATIVE_UNUSABLE', `${file} cannot be loaded: ${reason}`, { cause });
  }
  loaded = { addon: module.exports, directory };
  return loaded;
}

/** The value, or the failure thrown as its class. */
export function unwrap<T>(outcome: Outcome<T>): T {
  if (typeof outcome === 'object' && outcome !== null && 'failure' in outcome) {
    throw errorFrom(outcome.failure);
  }
  return outcome;
}

/** The absolute path of `kapsel-runtime`. */
export function runtimePath(): string {
  return `${load().directory}kapsel-runtime`;
}
