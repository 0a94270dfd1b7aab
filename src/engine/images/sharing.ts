// Which layers a new one is likely to have files in common with. The worker finds and links them, while the new layer is
// nobody's yet: a crash leaves a half-made tree like any other, and a file that goes to be shared is not written to the disk.
//
// A file has names in layers and nowhere else, so that there is nothing to be swept: the last layer takes it along.
// A farm with a name for every file would cost each first pull a link a file, and every container would see two names.

import type { LayerRow } from '../../native.ts';
import { layerPath } from './layer-path.ts';
import type { Newcomer } from './worker.ts';

/** Layers that a new one is compared with: each costs a look-up for every file. */
const most = 16;

/** Bytes of a layer's tar that are worth starting a worker. */
const least = 64 << 10;

/** Those of about the same size first: the same files at the same paths, as the last build of the same image has them. */
export function newcomersOf(
  made: readonly { staged: { path: string }; row: LayerRow }[],
  stored: readonly LayerRow[],
  root: string,
): Newcomer[] {
  const others = stored.map((row) => ({ tree: layerPath(root, row.diffId), size: row.unpackedSize }));
  const newcomers: Newcomer[] = [];
  for (const { staged, row } of made) {
    if (row.unpackedSize < least) continue;
    const distance = ({ size }: { size: number }) => Math.abs(Math.log(size / row.unpackedSize));
    const likely = others.filter(({ size }) => size >= least).sort((one, other) => distance(one) - distance(other));
    if (likely.length > 0) newcomers.push({ tree: staged.path, with: likely.slice(0, most).map(({ tree }) => tree) });
    others.push({ tree: staged.path, size: row.unpackedSize });
  }
  return newcomers;
}
