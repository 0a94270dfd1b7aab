// `system check`: every digest of the store read again. Layers in a worker each, documents here.

import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { Engine } from '../engine.ts';
import { AbortedError, ConflictError, KapselError } from '../errors.ts';
import { Blobs } from '../images/blobs.ts';
import { Layers } from '../images/layers.ts';
import { checkLayer } from '../images/worker.ts';
import { isLiving, neededLayers, takeInventory } from './inventory.ts';
import type { CheckOptions, CheckReport, Damage } from './types.ts';

export async function check(engine: Engine, options: CheckOptions): Promise<CheckReport> {
  const { images, containers } = await takeInventory(engine);
  const blobs = new Blobs(engine.root);
  const layers = new Layers(engine.root, engine.database);
  const needed = [...neededLayers(images, containers)].sort();
  const damaged: Damage[] = [];
  const found = (what: Damage['what'], digest: string, reason: string): void => {
    // Who has been removed meanwhile needs it no more.
    const users = engine.database
      .images()
      .filter((row) =>
        what === 'layer' ? row.diffIds.includes(digest) : row.id === digest || row.manifestDigest === digest,
      );
    const standing = what === 'layer' ? engine.database.containers().filter((row) => row.layers.includes(digest)) : [];
    if (users.length + standing.length === 0) return;
    damaged.push({
      digest,
      what,
      reason,
      images: users.map(({ id }) => id),
      containers: standing.map(({ id }) => id),
      repaired: false,
    });
  };
  const documents = images.flatMap((row) => [
    { what: 'config' as const, digest: row.id },
    ...(row.manifestDigest === null ? [] : [{ what: 'manifest' as const, digest: row.manifestDigest }]),
  ]);
  const total = documents.length + needed.length;
  let done = 0;
  const step = () => options.onProgress?.(done++, total);
  for (const { what, digest } of documents) {
    step();
    try {
      blobs.read(digest);
    } catch (error) {
      found(what, digest, reasonOf(error));
    }
  }
  const queue = [...needed];
  const lane = async () => {
    for (let diffId = queue.shift(); diffId !== undefined; diffId = queue.shift()) {
      if (options.signal?.aborted) throw new AbortedError();
      step();
      const reason = await damageOf(layers, diffId, options);
      if (reason !== undefined) found('layer', diffId, reason);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
  if (options.repair) for (const damage of damaged) await repair(engine, layers, damage, options.force ?? false);
  return { layers: needed.length, documents: documents.length, damaged };
}

async function damageOf(layers: Layers, diffId: string, { quick, signal }: CheckOptions): Promise<string | undefined> {
  const { tree, recipe } = layers.blobOf(diffId);
  if (!existsSync(tree)) return 'its tree is not there';
  if (!existsSync(recipe)) return 'its recipe is not there';
  if (quick) return undefined;
  try {
    await checkLayer({ tree, recipe, diffId, signal });
    return undefined;
  } catch (error) {
    if (error instanceof AbortedError) throw error;
    return reasonOf(error);
  }
}

/** What stands on it goes first, then the thing itself: what is left is whole. */
async function repair(engine: Engine, layers: Layers, damage: Damage, force: boolean): Promise<void> {
  const { database } = engine;
  for (const id of damage.containers) {
    const row = database.containers().find((one) => one.id === id);
    if (!row) continue;
    if (!force || isLiving(row)) return;
    await (await engine.containers.get(id)).remove();
  }
  for (const id of damage.images) {
    try {
      await engine.images.remove(id, { force: true, noPrune: true });
    } catch (error) {
      if (error instanceof ConflictError) return;
      if (!(error instanceof KapselError && error.code === 'IMAGE_NOT_FOUND')) throw error;
    }
  }
  // Its row went with the last image; of a tree that was not there, the recipe is left.
  if (damage.what === 'layer') await rm(layers.recipe(damage.digest), { force: true });
  damage.repaired = true;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
