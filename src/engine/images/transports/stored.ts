// An image of the store as a source: its documents as they came, its layers made anew from their trees and recipes.

import type { Database, ImageRow } from '../../../native.ts';
import type { Blobs } from '../blobs.ts';
import type { Layers } from '../layers.ts';
import { shown } from '../words.ts';
import { layerBlob, type Output, type Written } from '../worker.ts';
import type { OutgoingImage, OutgoingLayer } from './transport.ts';

export async function storedImage(
  row: ImageRow,
  { layers, blobs, database }: { layers: Layers; blobs: Blobs; database: Database },
): Promise<OutgoingImage> {
  const { id, manifestDigest } = row;
  return {
    name: row.references[0] === undefined ? id : shown(row.references[0]),
    config: { digest: id, bytes: blobs.read(id) },
    manifest: manifestDigest === null ? undefined : { digest: manifestDigest, bytes: blobs.read(manifestDigest) },
    layers: row.diffIds.map((diffId): OutgoingLayer => {
      const blob = layers.blobOf(diffId);
      return {
        diffId,
        digest: undefined,
        size: database.layer(diffId)?.unpackedSize ?? 0,
        forms: database.layerSources(diffId),
        open: (signal) => whole(layerBlob({ ...blob, compression: 'none', signal })),
        pack: (compression, signal) => {
          const output = layerBlob({ ...blob, compression, signal });
          return { stream: whole(output), verdict: output.verdict };
        },
      };
    }),
  };
}

/** A worker that cannot go on ends its stream early: whoever reads it is told why. */
async function* whole({ stream, verdict }: Output<Written>): AsyncGenerator<Uint8Array, void, undefined> {
  verdict.catch(() => {}); // Heard below, unless the reader goes away before.
  yield* stream as AsyncIterable<Uint8Array>;
  await verdict;
}
