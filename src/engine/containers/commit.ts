// What a container has changed: as a list, as a layer on its image (`commit`), and with everything below it as one tree.

import { existsSync, mkdirSync } from 'node:fs';
import { type ContainerRow, now } from '../../native.ts';
import type { ImageConfig, ProcessDefaults } from '../../registry/oci.ts';
import { hostPlatform } from '../../registry/platform.ts';
import type { Engine } from '../engine.ts';
import { applyChanges } from '../images/changes.ts';
import { layerPath } from '../images/layer-path.ts';
import { withScratch } from '../images/scratch.ts';
import { diffList, exportTar, unpackDiff } from '../images/worker.ts';
import { wholeSeconds } from '../images/words.ts';
import { ignoringMissing } from './reap.ts';
import type { CommitOptions, ExportOptions, PathChange } from './options.ts';
import { containerPaths } from './paths.ts';
import type { Settings } from './settings.ts';

/** Resolves to the id of the new image. */
export async function commit(engine: Engine, row: ContainerRow, options: CommitOptions): Promise<string> {
  const { reference, author, message, changes = [], sourceDateEpoch, signal } = options;
  const base = ignoringMissing(() => engine.database.image(row.imageId));
  const below = base?.config as ImageConfig | undefined;
  const settings = row.document as Settings;
  const config = applyChanges(defaultsOf(below?.config ?? {}, settings, row.labels), changes);
  const created = sourceDateEpoch === undefined ? now() : wholeSeconds(sourceDateEpoch);
  const step = {
    created,
    created_by: [...settings.entrypoint, ...settings.command].join(' '),
    ...(author && { author }),
    ...(message && { comment: message }),
  };
  const { os, architecture, variant } = below ?? hostPlatform();
  return await withUpper(engine, row, (upper, lowers) =>
    engine.images.extend({
      below: row.layers,
      parentId: base?.id ?? null,
      reference,
      signal,
      fill: (into) => unpackDiff({ upper, lowers, sourceDateEpoch, signal }, into),
      config: (diffId): ImageConfig => ({
        created,
        ...(author && { author }),
        architecture,
        ...(variant && { variant }),
        os,
        ...(message && { comment: message }),
        config,
        rootfs: { type: 'layers', diff_ids: [...row.layers, diffId] },
        history: [...(below?.history ?? []), step],
      }),
    }),
  );
}

/** By path. */
export async function changesOf(engine: Engine, row: ContainerRow): Promise<PathChange[]> {
  const listed = await withUpper(engine, row, (upper, lowers) => diffList({ upper, lowers }));
  return listed
    .map(({ kind, path }) => ({ kind, path: path.startsWith('/') ? path : `/${path}` }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The whole tree as a tar, on a descriptor that stays the caller's. */
export async function exportTo(
  engine: Engine,
  row: ContainerRow,
  write: (tar: AsyncIterable<Uint8Array>) => Promise<void>,
  { sourceDateEpoch, signal }: ExportOptions = {},
): Promise<void> {
  await withUpper(engine, row, async (upper, lowers) => {
    const { stream, verdict } = exportTar({ lowers: [upper, ...lowers], sourceDateEpoch, signal });
    const [written, told] = await Promise.allSettled([write(stream), verdict]);
    // A worker that cannot go on ends the stream early: it knows why.
    if (told.status === 'rejected' && written.status === 'fulfilled') throw told.reason;
    if (written.status === 'rejected') throw written.reason;
  });
}

/** A container that was never started has no upper directory yet, and has changed nothing. */
async function withUpper<T>(
  { root, runRoot }: Engine,
  row: ContainerRow,
  work: (upper: string, lowers: string[]) => Promise<T>,
): Promise<T> {
  const { upper } = containerPaths(root, runRoot, row.id);
  // Overlay takes no directory twice; of a layer that comes twice, the upper one hides the lower entirely.
  const lowers = [...new Set(row.layers.toReversed())].map((diffId) => layerPath(root, diffId));
  if (existsSync(upper)) return await work(upper, lowers);
  return await withScratch(root, async (directory) => {
    const empty = `${directory}/upper`;
    mkdirSync(empty, { mode: 0o755 });
    return await work(empty, lowers);
  });
}

/** The image's defaults with what the container was told, as Docker commits them. */
function defaultsOf(
  image: ProcessDefaults,
  settings: Settings,
  labels: Readonly<Record<string, string>>,
): ProcessDefaults {
  const { entrypoint, command, env, user, workdir, exposedPorts, mounts, tty } = settings;
  // What every container gets is no wish of this one's.
  const own = env.filter((line) => !/^(HOSTNAME|HOME)=/.test(line) && !(tty && line === 'TERM=xterm'));
  const volumes = mounts.flatMap((mount) => (mount.type === 'volume' && mount.anonymous ? [mount.target] : []));
  return {
    ...image,
    ...(own.length > 0 && { Env: own }),
    ...(entrypoint.length > 0 && { Entrypoint: [...entrypoint] }),
    ...(command.length > 0 && { Cmd: [...command] }),
    ...(user && { User: user }),
    ...(workdir && { WorkingDir: workdir }),
    ...(Object.keys(labels).length > 0 && { Labels: { ...labels } }),
    ...(exposedPorts.length > 0 && { ExposedPorts: Object.fromEntries(exposedPorts.map((port) => [port, {}])) }),
    ...(volumes.length > 0 && {
      Volumes: { ...image.Volumes, ...Object.fromEntries(volumes.map((path) => [path, {}])) },
    }),
  };
}
