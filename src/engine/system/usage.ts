// `system df`: what is where, and what of it nobody needs.

import { join } from 'node:path';
import type { ImageRow } from '../../native.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { measure, type TreeUsage } from '../images/worker.ts';
import { shown } from '../images/words.ts';
import {
  containerDirectory,
  documentFiles,
  doomed,
  isLiving,
  isUsed,
  layerFiles,
  leftovers,
  neededLayers,
  partialDownloads,
  takeInventory,
  volumeDirectory,
  volumesOf,
} from './inventory.ts';
import type { DiskUsage } from './types.ts';

export async function diskUsage(engine: Engine): Promise<DiskUsage> {
  const all = await takeInventory(engine);
  const { images, containers, volumes } = all;
  const { root } = engine;
  const none = { images: [], containers: [], volumes: [] };
  const files = (row: ImageRow) => [...layerFiles(root, row.diffIds), ...documentFiles(root, row)];
  const unusedImages = images.filter((row) => !isUsed(row, containers));
  const stopped = containers.filter((row) => !isLiving(row));
  const links = new Map(
    volumes.map((name) => [name, containers.filter((row) => volumesOf(row).includes(name)).length]),
  );
  const waste = [...partialDownloads(root), ...(await leftovers(engine, all))];
  const sets: string[][] = [
    [...layerFiles(root, neededLayers(images, containers)), ...images.flatMap((row) => documentFiles(root, row))],
    doomed(engine, all, { ...none, images: unusedImages }),
    containers.map((row) => containerDirectory(engine, row)),
    stopped.map((row) => containerDirectory(engine, row)),
    volumes.map((name) => volumeDirectory(engine, name)),
    volumes.filter((name) => links.get(name) === 0).map((name) => volumeDirectory(engine, name)),
    [...waste, join(root, 'cache')],
    waste,
    ...images.map(files),
    ...images.map((row) => doomed(engine, { ...all, containers: [] }, { ...none, images: [row] })),
    ...containers.map((row) => [containerDirectory(engine, row)]),
    ...volumes.map((name) => [volumeDirectory(engine, name)]),
  ];
  const measured = await measure(sets);
  const take = (count: number): TreeUsage[] => measured.splice(0, count);
  const [everyImage, freeImages, everyContainer, freeContainers, everyVolume, freeVolumes, cache, freeCache] = take(8);
  const [imageSizes, imageUnique] = [take(images.length), take(images.length)];
  const [containerSizes, volumeSizes] = [take(containers.length), take(volumes.length)];
  const unlinked = volumes.filter((name) => links.get(name) === 0).length;
  return {
    images: {
      total: images.length,
      active: images.length - unusedImages.length,
      size: everyImage!.size,
      reclaimable: freeImages!.freed,
      items: images.map((row, index) => ({
        id: row.id,
        names: row.references.map(shown),
        created: row.createdAt,
        size: imageSizes[index]!.size,
        unique: imageUnique[index]!.freed,
        shared: imageSizes[index]!.size - imageUnique[index]!.freed,
        containers: containers.filter(({ imageId }) => imageId === row.id).length,
      })),
    },
    containers: {
      total: containers.length,
      active: containers.length - stopped.length,
      size: everyContainer!.size,
      reclaimable: freeContainers!.freed,
      items: containers.map((row, index) => {
        const { entrypoint, command } = row.document as Settings;
        return {
          id: row.id,
          name: row.name,
          image: row.image,
          command: [...entrypoint, ...command],
          volumes: volumesOf(row).length,
          size: containerSizes[index]!.size,
          created: row.createdAt,
          status: row.status,
        };
      }),
    },
    volumes: {
      total: volumes.length,
      active: volumes.length - unlinked,
      size: everyVolume!.size,
      reclaimable: freeVolumes!.freed,
      items: volumes.map((name, index) => ({ name, size: volumeSizes[index]!.size, links: links.get(name) ?? 0 })),
    },
    cache: { total: waste.length, active: 0, size: cache!.size, reclaimable: freeCache!.freed },
  };
}
