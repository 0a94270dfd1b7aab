// What lies where in an engine's root, and which of it is needed by what: the common ground of df and prune.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerRow, ImageRow } from '../../native.ts';
import { containerPaths } from '../containers/paths.ts';
import { reconcile } from '../containers/reap.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { Blobs } from '../images/blobs.ts';
import { Downloads } from '../images/downloads.ts';
import { layerPath } from '../images/layer-path.ts';
import { tryLock } from '../images/locks.ts';
import { volumeNames } from '../volumes.ts';

export interface Inventory {
  images: ImageRow[];
  containers: ContainerRow[];
  /** Names of volumes. */
  volumes: string[];
}

/** After the dead have been noticed, and those of --rm have gone. */
export async function takeInventory(engine: Engine): Promise<Inventory> {
  await reconcile(engine);
  const { database } = engine;
  return {
    images: database.images(),
    containers: database.containers(),
    volumes: database.volumes().map(({ name }) => name),
  };
}

export function isLiving({ status }: ContainerRow): boolean {
  return status === 'starting' || status === 'running' || status === 'paused';
}

export function isUsed({ id }: ImageRow, containers: readonly ContainerRow[]): boolean {
  return containers.some(({ imageId }) => imageId === id);
}

/** Files that hold these layers. */
export function layerFiles(root: string, diffIds: Iterable<string>): string[] {
  return [...diffIds].flatMap((diffId) => [layerPath(root, diffId), `${layerPath(root, diffId)}.recipe`]);
}

/** The documents of an image. */
export function documentFiles(root: string, { id, manifestDigest }: ImageRow): string[] {
  const digests = manifestDigest === null ? [id] : [id, manifestDigest];
  return digests.map((digest) => join(root, 'blobs', ...digest.split(':')));
}

/** Layers that these need. */
export function neededLayers(images: readonly ImageRow[], containers: readonly ContainerRow[]): Set<string> {
  return new Set([...images.flatMap(({ diffIds }) => diffIds), ...containers.flatMap(({ layers }) => layers)]);
}

export function containerDirectory({ root, runRoot }: Engine, { id }: ContainerRow): string {
  return containerPaths(root, runRoot, id).directory;
}

export function volumeDirectory({ root, runRoot }: Engine, name: string): string {
  return containerPaths(root, runRoot, '').volume(name);
}

export function volumesOf({ document }: ContainerRow): string[] {
  return volumeNames(document as Settings);
}

/** Everything that goes when these containers, images and volumes do: of layers, what nothing else needs. */
export function doomed(engine: Engine, all: Inventory, going: Inventory): string[] {
  const stay = <T extends { id: string }>(rows: readonly T[], leaving: readonly T[]): T[] => {
    const ids = new Set(leaving.map(({ id }) => id));
    return rows.filter(({ id }) => !ids.has(id));
  };
  const needed = neededLayers(stay(all.images, going.images), stay(all.containers, going.containers));
  const layers = neededLayers(going.images, going.containers);
  return [
    ...layerFiles(
      engine.root,
      [...layers].filter((diffId) => !needed.has(diffId)),
    ),
    ...going.images.flatMap((row) => documentFiles(engine.root, row)),
    ...going.containers.map((row) => containerDirectory(engine, row)),
    ...going.volumes.map((name) => volumeDirectory(engine, name)),
  ];
}

/** Downloads that wait to be continued: ROOT/partial. */
export function partialDownloads(root: string): string[] {
  return new Downloads(root).list().map(({ digest }) => join(root, 'partial', digest.slice('sha256:'.length)));
}

/** What processes that died left: half-made layers, layers nobody has recorded, unpacked archives, documents of no image. */
export async function leftovers(engine: Engine, { images }: Inventory): Promise<string[]> {
  const { root, database } = engine;
  const recorded = new Set(database.layers().map(({ diffId }) => diffId.slice('sha256:'.length)));
  const isFree = (lockPath: string): boolean => {
    if (!existsSync(lockPath)) return true;
    const held = tryLock(lockPath);
    held?.release();
    return held !== undefined;
  };
  const layers = list(join(root, 'layers')).filter((path) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (name.endsWith('.lock')) return false;
    const hex = name.replace(/^\./, '').replace(/(\.(old|recipe))+$/, '');
    if (!name.startsWith('.') && recorded.has(hex)) return false;
    return isFree(join(root, 'layers', `.${hex}.lock`));
  });
  const scratch = list(join(root, 'tmp')).filter((path) => !path.endsWith('.lock') && isFree(`${path}.lock`));
  const blobs = await new Blobs(root).abandoned(images.flatMap(({ id, manifestDigest }) => [id, manifestDigest ?? id]));
  return [...layers, ...scratch, ...blobs];
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory).map((name) => join(directory, name));
  } catch {
    return []; // Nobody has made it yet.
  }
}
