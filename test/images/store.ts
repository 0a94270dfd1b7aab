// What the image tests share: an engine's images over a fresh root, a look at them through the kernel's own overlay.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ReadyImage } from '../../src/engine/images.ts';

const execute = promisify(execFile);

export async function scratchDirectory(name: string): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), `${name}-`));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Runs a shell line with the image mounted at `$ROOT`, in a mount namespace of its own. */
export async function inImage(image: ReadyImage, line: string): Promise<string> {
  const { path, remove } = await scratchDirectory('mounted');
  try {
    // One layer alone is no overlay.
    const lowers = [...image.layers, path].join(':');
    const script = `mount -t overlay -o ro,lowerdir="$LOWERS" overlay "$ROOT" && cd "$ROOT" && ${line}`;
    const env = { ...process.env, LOWERS: lowers, ROOT: path };
    return (await execute('unshare', ['--mount', 'sh', '-ec', script], { env, maxBuffer: 1 << 26 })).stdout;
  } finally {
    await remove();
  }
}
