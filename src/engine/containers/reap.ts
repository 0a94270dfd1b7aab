// Cleaning up after what is dead: trees and cgroups go by `kapsel-runtime reap`, which as an ordinary user may remove what
// only its user namespace owns. And reconciliation, which finds the dead.

import {
  close,
  lockExclusive,
  memfd,
  reap as waitFor,
  removeRunDirectory,
  runtimePath,
  spawn,
  type ContainerRow,
} from '../../native.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, KapselError, NotFoundError } from '../errors.ts';
import { complaintOf, runtimeEnvironment } from './monitor.ts';
import { containerPaths } from './paths.ts';
import { nameFile, table } from '../networks/wiring.ts';
import type { Settings } from './settings.ts';

/** Kills what is left in the cgroup, removes it, and then the trees. What is not there is not missed. */
export async function reap(
  cgroupsPath: string | undefined,
  remove: readonly string[],
  unpublish?: { runRoot: string; table: string; container: string },
): Promise<void> {
  const request = memfd(JSON.stringify({ cgroupsPath, remove, unpublish }));
  const complaints = memfd('');
  try {
    const pid = spawn({
      path: runtimePath(),
      argv: ['kapsel-runtime', 'reap'],
      env: runtimeEnvironment(),
      fds: [null, null, complaints, request],
      setsid: true,
    });
    const { exitCode, signal } = await waitFor(pid);
    if (exitCode !== 0) {
      throw (
        complaintOf(complaints) ?? new KapselError('REAP_FAILED', `kapsel-runtime reap ended by ${signal ?? exitCode}`)
      );
    }
  } finally {
    close(request);
    close(complaints);
  }
}

/** Names of the volumes that go with a container. */
export function anonymousVolumes(settings: Settings): string[] {
  return settings.mounts.flatMap((mount) => (mount.type === 'volume' && mount.anonymous ? [mount.source] : []));
}

/**
 * Removes everything a container that is not alive had, its row last: whoever is killed meanwhile can begin again.
 * The caller holds its lock, so that nobody starts it.
 */
export async function removeRemains(engine: Engine, row: ContainerRow, volumes: boolean): Promise<void> {
  const settings = row.document as Settings;
  const paths = containerPaths(engine.root, engine.runRoot, row.id);
  const names = volumes ? anonymousVolumes(settings) : [];
  const trees = [paths.directory, ...names.map(paths.volume)];
  await reapContainer(engine, row, trees);
  removeRunDirectory(paths.runDirectory);
  await forget(engine, row.id, names);
}

/** What a life has left beside its run directory: a monitor that ended in peace has left nothing of it. */
function reapContainer(engine: Engine, { id, document }: ContainerRow, trees: readonly string[]): Promise<void> {
  const { cgroupParent, network } = document as Settings;
  const cgroup = `${cgroupParent}/${id}`;
  if (network !== 'bridge') return reap(cgroup, trees);
  const names = engine.database.endpointsOfContainer(id).map(({ networkId }) => nameFile(engine, networkId, id));
  return reap(cgroup, [...trees, ...names], { runRoot: engine.runRoot, table, container: id });
}

/** Takes the rows of a container and its volumes away, and the trees of layers that nobody needs any more. */
export async function forget(engine: Engine, id: string, volumes: readonly string[]): Promise<void> {
  for (const name of volumes) ignoringMissing(() => engine.database.removeVolume(name));
  const layers = ignoringMissing(() => engine.database.removeContainer(id)) ?? [];
  await engine.images.discardLayers(layers);
}

/** Long enough for those who only test a lock; whoever holds it for longer does what we would. */
const patience = 20;

/** Does the work with a container's lock held, or nothing where somebody else has it: it lives, or is being cleaned. */
export async function whileDead(lockPath: string, work: () => Promise<void>, wait = patience): Promise<void> {
  let lock: number;
  try {
    lock = lockExclusive(lockPath, wait);
  } catch (error) {
    if (error instanceof ConflictError) return;
    throw error;
  }
  try {
    await work();
  } finally {
    close(lock);
  }
}

/**
 * Milliseconds for the lock of a monitor that was killed: the kernel closes a dying process's files in no order, so that
 * its connections may end before its lock is free.
 */
export const dying = 1000;

/** Brings the database to the truth, and cleans what the dead have left. */
export async function reconcile(engine: Engine): Promise<void> {
  // A run directory without a row has gone by now. It is all that its maker had made: the row comes next. Anything else of
  // its id is no stray's: the maker may be alive, and has begun again with the same id.
  const { died, remove } = engine.database.reconcile(engine.runRoot);
  if (died.length + remove.length === 0) return;
  const pathsOf = (id: string) => containerPaths(engine.root, engine.runRoot, id);
  const vanishing = new Set(remove.map((row) => row.id));
  const tasks = [
    ...remove.map((row) => () => whileDead(pathsOf(row.id).lock, () => removeRemains(engine, row, true))),
    ...died
      .filter((row) => !vanishing.has(row.id))
      .map(
        (row) => () =>
          whileDead(pathsOf(row.id).lock, async () => {
            await reapContainer(engine, row, []);
            removeRunDirectory(pathsOf(row.id).runDirectory);
          }),
      ),
  ];
  // A few at a time: after a crash there may be hundreds.
  const workers = Array.from({ length: Math.min(4, tasks.length) }, async () => {
    for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) await task();
  });
  await Promise.all(workers);
}

/** Another command may have been here first, and found the container dead. */
export function ignoringMissing<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  }
}
