// `prune`: containers that do not run, networks, images and volumes that nobody uses, and what the dead have left. What is
// freed is measured on what goes, before and after: another process may need some of it meanwhile, and then it stays.

import type { ContainerRow, ImageRow } from '../../native.ts';
import type { ImageConfig } from '../../registry/oci.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, NotFoundError } from '../errors.ts';
import { Downloads } from '../images/downloads.ts';
import { carries } from '../images/list.ts';
import { measure } from '../images/worker.ts';
import {
  doomed,
  type Inventory,
  isLiving,
  isUsed,
  leftovers,
  partialDownloads,
  takeInventory,
  volumesOf,
} from './inventory.ts';
import type { PruneFilters, PruneOptions, Pruned } from './types.ts';

export async function prune(engine: Engine, options: PruneOptions): Promise<Pruned> {
  const { kinds = ['containers', 'networks', 'images', 'cache'], filters = {} } = options;
  const all = await takeInventory(engine);
  const containers = kinds.includes('containers') ? prunableContainers(all, filters) : [];
  const staying = all.containers.filter((row) => !containers.includes(row));
  const images = kinds.includes('images') ? prunableImages(all, staying, options) : [];
  const volumes = kinds.includes('volumes') ? await prunableVolumes(engine, staying, options) : [];
  const waste = kinds.includes('cache') ? [...partialDownloads(engine.root), ...(await leftovers(engine, all))] : [];
  const files = [...doomed(engine, all, { containers, images, volumes }), ...waste];
  const [before] = await measure([files]);
  const pruned: Omit<Pruned, 'reclaimed'> = { containers: [], networks: [], images: [], volumes: [] };
  for (const row of containers) {
    await unlessNeeded(async () => {
      await (await engine.containers.get(row.id)).remove();
      pruned.containers.push(row.id);
    });
  }
  if (kinds.includes('networks')) {
    pruned.networks = await engine.networks.prune(({ labels, createdAt }) => passes(labels, createdAt, filters));
  }
  for (const row of images) {
    await unlessNeeded(async () => {
      pruned.images.push(...(await engine.images.remove(row.id, { force: true, noPrune: true })));
    });
  }
  for (const name of volumes) {
    await unlessNeeded(async () => {
      await engine.volumes.remove(name);
      pruned.volumes.push(name);
    });
  }
  if (kinds.includes('cache')) {
    new Downloads(engine.root).sweep(0);
    await engine.images.sweep();
  }
  const [after] = await measure([files]);
  return { ...pruned, reclaimed: Math.max(0, before!.freed - after!.freed) };
}

function prunableContainers({ containers }: Inventory, filters: PruneFilters): ContainerRow[] {
  return containers.filter((row) => !isLiving(row) && passes(row.labels, row.createdAt, filters));
}

function prunableImages(
  { images }: Inventory,
  containers: readonly ContainerRow[],
  { allImages = false, filters = {} }: PruneOptions,
): ImageRow[] {
  const going = images.filter((row) => {
    const labels = (row.config as ImageConfig).config?.Labels ?? {};
    const isWanted = !isUsed(row, containers) && (allImages || row.references.length === 0);
    return isWanted && passes(labels, row.createdAt ?? '1970-01-01T00:00:00Z', filters);
  });
  // What an image that stays was made from is no rubbish, unless everything without a container is.
  const parents = new Set(images.filter((row) => !going.includes(row)).map(({ parentId }) => parentId));
  return allImages ? going : going.filter(({ id }) => !parents.has(id));
}

async function prunableVolumes(
  engine: Engine,
  containers: readonly ContainerRow[],
  { allVolumes = false, filters = {} }: PruneOptions,
): Promise<string[]> {
  const used = new Set(containers.flatMap(volumesOf));
  const volumes = await engine.volumes.list();
  return volumes
    .filter(({ name, anonymous }) => !used.has(name) && (allVolumes || anonymous))
    .filter(({ labels }) => passes(labels, '', { ...filters, until: undefined }))
    .map(({ name }) => name);
}

function passes(
  labels: Readonly<Record<string, string>>,
  created: string,
  { until, labels: wanted, withoutLabels = [] }: PruneFilters,
): boolean {
  if (until !== undefined && Date.parse(created) >= Date.parse(until)) return false;
  return carries(labels, wanted) && !withoutLabels.some((label) => carries(labels, [label]));
}

/** Somebody may have started to use it, or have removed it. */
async function unlessNeeded(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ConflictError) && !(error instanceof NotFoundError)) throw error;
  }
}
