// Images that kapsel itself puts together: one layer from a tar, a config, a manifest.
// `import` and `host:` differ only in where the tar and the config come from.

import { type ImageConfig, mediaTypes, type Platform } from '../../registry/oci.ts';
import { type LayerRow, sha256 } from '../../native.ts';
import { randomHex } from '../random.ts';
import type { Layers } from './layers.ts';
import type { Unpacked, UnpackOptions } from './worker.ts';

export interface Composed {
  id: string;
  config: ImageConfig;
  configBytes: Buffer;
  manifest: { digest: string; bytes: Buffer };
  diffIds: string[];
  rows: LayerRow[];
}

/** Fills a layer whose diffID is known only at the end, and publishes it unless the store has it. */
export async function composeLayer(
  layers: Layers,
  fill: (options: UnpackOptions) => Promise<Unpacked>,
  signal?: AbortSignal,
): Promise<Unpacked> {
  await layers.sweep();
  const unnamed = await layers.stageUnnamed(randomHex(8), signal);
  try {
    const unpacked = await fill({ into: unnamed.path, recipe: unnamed.recipe, mode: 'layer', signal });
    const staged = await layers.stage(unpacked.diffId, signal);
    if (staged) {
      try {
        layers.adopt(unnamed, staged);
        await layers.publish([{ staged, row: rowOf(unpacked) }]);
      } catch (error) {
        await layers.discard([staged]);
        throw error;
      }
    }
    return unpacked;
  } finally {
    await layers.discard([unnamed]);
  }
}

function rowOf({ diffId, size, unpackedSize }: Unpacked): LayerRow {
  return { diffId, size, unpackedSize };
}

/** The documents around one layer. */
export function composeImage(
  layer: Unpacked,
  platform: Platform,
  about: Pick<ImageConfig, 'config' | 'created' | 'comment'> & { created: string },
  createdBy: string,
): Composed {
  const { created, comment, config: defaults = {} } = about;
  const config: ImageConfig = {
    created,
    architecture: platform.architecture,
    ...(platform.variant && { variant: platform.variant }),
    os: platform.os,
    ...(comment && { comment }),
    config: defaults,
    rootfs: { type: 'layers', diff_ids: [layer.diffId] },
    history: [{ created, created_by: createdBy, ...(comment && { comment }) }],
  };
  const configBytes = Buffer.from(JSON.stringify(config));
  const id = sha256(configBytes);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest: id, size: configBytes.length },
      layers: [{ mediaType: layer.mediaType, digest: layer.digest, size: layer.size }],
    }),
  );
  return {
    id,
    config,
    configBytes,
    manifest: { digest: sha256(manifest), bytes: manifest },
    diffIds: [layer.diffId],
    rows: [rowOf(layer)],
  };
}
