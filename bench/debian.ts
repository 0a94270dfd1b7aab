// A real image to pull: Debian's base, compilers, a Java and Python's science, as layers of Debian's own packages by
// mmdebstrap. Made once, in the cache of the tests: 1.9 GB in 35 000 files or so, 600 MB gzipped.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Compression, debianTar, ociLayout } from '../test/harness/images.ts';

const execute = promisify(execFile);

const packages = {
  tools: ['gcc', 'g++', 'gdb', 'git', 'make'],
  java: ['openjdk-17-jdk-headless'],
  science: ['python3-scipy', 'python3-matplotlib'],
};

/** Its layers as plain tars, lowest first. */
export async function layerTars(): Promise<string[]> {
  const base = await debianTar();
  const tars = [base];
  for (const [name, wanted] of Object.entries(packages)) {
    const path = join(dirname(base), `bench-${name}.tar`);
    if (!existsSync(path)) await extracted(wanted, path);
    tars.push(path);
  }
  return tars;
}

/** The packages and all that they need, not configured: no more than files in their places. */
async function extracted(wanted: string[], path: string): Promise<void> {
  const working = await mkdtemp(join(tmpdir(), 'kapsel-bench-debian-'));
  try {
    const made = join(working, 'layer.tar');
    const options = ['--quiet', '--mode=root', '--variant=extract', `--include=${wanted.join(',')}`];
    await execute('mmdebstrap', [...options, 'bookworm', made], {
      env: { ...process.env, SOURCE_DATE_EPOCH: '1700000000', TMPDIR: working },
    });
    await copyFile(made, `${path}.part`);
    await rename(`${path}.part`, path);
  } finally {
    await rm(working, { recursive: true, force: true });
  }
}

/** The image as an OCI layout, packed as usual, in the cache as well: `oci:DIRECTORY:it`. */
export async function layoutOf(tars: string[], compression: Compression): Promise<string> {
  const path = join(dirname(tars[0]!), `bench-${compression}`);
  if (!existsSync(path)) {
    await ociLayout(`${path}.part`, [{ layers: tars, compression, name: 'it' }]);
    await rename(`${path}.part`, path);
  }
  return path;
}
