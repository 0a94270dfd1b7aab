// A checkpoint becomes a running container again: from an archive, in a new container, or from where it was made.
// An archive decides what the processes in it are and may do: only one that can be trusted is to be restored.
// Loaded at the first use.

import { createReadStream, openSync, renameSync } from 'node:fs';
import { join } from 'node:path';

import { close } from '../../native.ts';
import { diskError } from '../disk.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, errorFrom, KapselError, NotFoundError, StorageError, UnsupportedError } from '../errors.ts';
import type { ReadyImage } from '../images.ts';
import { withScratch } from '../images/scratch.ts';
import { removeTrees, unpack } from '../images/worker.ts';
import { endpointsFor } from '../networks/endpoints.ts';
import { randomHex } from '../random.ts';
import { type Archived, changesOf, readArchive } from './checkpoint-archive.ts';
import { containerName } from './notation/names.ts';
import type { ExitStatus, RestoreArchiveOptions, RestoreOptions } from './options.ts';
import type { Paths } from './paths.ts';
import { prepareDirectories } from './prepare.ts';
import { dying, ignoringMissing, reconcile, removeRemains, whileDead } from './reap.ts';
import type { Settings } from './settings.ts';
import { type Claim, claimLock, letGo, Life, type Restore } from './start.ts';
import { supervision } from './supervision.ts';
import { whiteouts } from './whiteouts.ts';

/** A program that runs, and its end. */
interface Running {
  exited: Promise<ExitStatus>;
}

/** Restores a container that was checkpointed here. Resolves when it runs. */
export function restore(engine: Engine, claim: () => Claim, options: RestoreOptions): Promise<Running> {
  refuseOthersThanRoot();
  return begin(engine, claim(), options).catch((error: unknown) => {
    throw asRestore(error, false);
  });
}

/** Makes a container of an archive, or nothing. */
export async function restoreArchive(
  engine: Engine,
  archive: string,
  options: RestoreArchiveOptions,
): Promise<Running & { id: string; name: string }> {
  refuseOthersThanRoot();
  const name = options.name === undefined ? undefined : containerName(options.name);
  // Opened before the scratch directory is made: the engine's root is there then.
  await reconcile(engine);
  return withScratch(engine.root, async (directory) => {
    await unpack({ fd: open(archive) }, { into: directory, mode: 'archive', signal: options.signal });
    const archived = readArchive(directory, archive);
    const image = await findImage(engine, archived, options);
    const id = name === undefined ? archived.id : randomHex(32);
    const called = name ?? archived.name;
    refuseKnown(engine, id, archive);
    const settings: Settings = { ...archived.settings, cgroupParent: engine.cgroupParent };
    const { paths, lock } = claimLock(engine, id);
    try {
      engine.database.insertContainer({
        id,
        name: called,
        status: 'starting',
        imageId: image.id,
        image: archived.image.reference,
        autoRemove: settings.rm,
        labels: archived.labels,
        networks: endpointsFor(engine, settings.networks),
        document: settings,
      });
    } catch (error) {
      letGo(paths, lock);
      throw error;
    }
    try {
      await furnish(archived, paths, options.signal);
    } catch (error) {
      close(lock);
      await forget(engine, id, paths);
      throw diskError(error);
    }
    try {
      const { exited } = await begin(
        engine,
        { id, name: called, paths, settings, layers: image.layers, lock },
        options,
      );
      return { id, name: called, exited };
    } catch (error) {
      await forget(engine, id, paths);
      throw asRestore(error, true);
    }
  });
}

/** The root as it was: what had been removed is removed before what had been changed comes. */
async function furnish(archived: Archived, paths: Paths, signal: AbortSignal | undefined): Promise<void> {
  prepareDirectories(paths);
  renameSync(join(archived.directory, 'checkpoint'), paths.checkpoint);
  const changes = changesOf(archived);
  if (changes === undefined) return;
  const bytes = async function* () {
    yield whiteouts(archived.deleted);
    yield* createReadStream('', { fd: changes });
  };
  await unpack({ bytes }, { into: paths.upper, mode: 'layer', signal });
}

async function begin(engine: Engine, claim: Claim, options: RestoreOptions): Promise<Running> {
  const { runDetached } = await supervision();
  const { paths, id } = claim;
  const { tcpEstablished = false, fileLocks = false, keep = false } = options;
  const terms: Restore = { images: paths.checkpoint, work: paths.directory, tcpEstablished, fileLocks };
  const life = await Life.begin(engine, { ...claim, restore: terms });
  const { exited } = await runDetached(engine, life);
  if (!keep) await removeTrees([paths.checkpoint]);
  engine.database.appendEvent({ kind: 'container', action: 'restore', id, attributes: {} });
  return { exited };
}

async function findImage(engine: Engine, { image }: Archived, options: RestoreArchiveOptions): Promise<ReadyImage> {
  const { signal, onProgress } = options;
  const found =
    engine.images.resolve(image.id) ??
    (await engine.images.ensure(image.reference, {
      ...(signal && { signal }),
      ...(onProgress && { onProgress }),
    }));
  if (found.id === image.id) return found;
  throw new ConflictError(
    'IMAGE_CHANGED',
    `image ${image.reference} is ${found.id.slice(7, 19)} here, and the container was of ${image.id.slice(7, 19)}`,
    { hint: 'bring that image here first, with kapsel load or kapsel pull' },
  );
}

function refuseKnown(engine: Engine, id: string, archive: string): void {
  try {
    engine.database.container(id);
  } catch (error) {
    if (error instanceof NotFoundError) return;
    throw error;
  }
  throw new ConflictError('CONTAINER_CONFLICT', `cannot restore ${archive}: its container is here still`, {
    hint: 'remove it first, or give another --name',
  });
}

function refuseOthersThanRoot(): void {
  if (process.geteuid!() === 0) return;
  throw new UnsupportedError('CHECKPOINT_UNSUPPORTED', 'a restore needs root: CRIU cannot do without');
}

function open(archive: string): number {
  try {
    return openSync(archive, 'r');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : String(cause);
    throw new StorageError('ARCHIVE_UNREADABLE', `cannot read ${archive}: ${reason}`, { cause });
  }
}

/** Nothing is left of a container that could not be restored. */
async function forget(engine: Engine, id: string, paths: Paths): Promise<void> {
  await whileDead(
    paths.lock,
    async () => {
      // With --rm it has gone by itself.
      const row = ignoringMissing(() => engine.database.container(id));
      if (row === undefined) return;
      engine.database.exited(id, { exitCode: 125 });
      await removeRemains(engine, row, true);
    },
    dying,
  );
}

/** Nothing of the program's own failed; and CRIU's log has gone with everything else. */
function asRestore(error: unknown, logIsGone: boolean): unknown {
  if (!(error instanceof KapselError)) return error;
  const { code, message, hint, errno } = error;
  return errorFrom({
    code,
    message: logIsGone ? message.replace(/; the whole log is .*/, '') : message,
    exitCode: 1,
    ...(hint !== undefined && { hint }),
    ...(errno !== undefined && { errno }),
  });
}
