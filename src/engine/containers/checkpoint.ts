// A running container becomes a checkpoint: CRIU's images in its directory, and on demand an archive that another engine
// restores. Loaded at the first use.

import { openSync } from 'node:fs';
import { Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';

import { pipe, type ContainerRow } from '../../native.ts';
import { diskError } from '../disk.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, InvalidArgumentError, UnsupportedError } from '../errors.ts';
import { pack, removeTrees } from '../images/worker.ts';
import { OutputFile } from '../output-file.ts';
import { documents } from './checkpoint-archive.ts';
import { deviceAccess } from './devices.ts';
import { ground } from './ground.ts';
import { launch } from './launch.ts';
import type { CheckpointOptions } from './options.ts';
import { containerPaths, layerDirectory } from './paths.ts';
import { reconcile } from './reap.ts';
import type { Settings } from './settings.ts';
import { supervision } from './supervision.ts';

type Compression = NonNullable<CheckpointOptions['compress']>;

/** Takes the connection over. */
export async function checkpoint(
  engine: Engine,
  row: ContainerRow,
  fd: number,
  options: CheckpointOptions,
): Promise<void> {
  const { Connection } = await supervision();
  const connection = new Connection(fd);
  const settings = row.document as Settings;
  const paths = containerPaths(engine.root, engine.runRoot, row.id);
  const layers = row.layers.map((diffId) => layerDirectory(engine.root, diffId)).reverse();
  const { leaveRunning = false, tcpEstablished = false, fileLocks = false } = options;
  try {
    const given = ground(settings, deviceAccess(settings.devices, settings.privileged));
    refuseImpossible(row, settings, options);
    const { config } = launch(row.id, settings, paths, layers, given);
    const terms = { images: paths.checkpoint, work: paths.directory, tcpEstablished, fileLocks };
    await removeTrees([paths.checkpoint]);
    try {
      // However much memory there is to write. What the program was started with is none of CRIU's business.
      await connection.request(
        { request: 'checkpoint', config: { ...config, process: undefined }, ...terms, leaveRunning },
        Infinity,
      );
    } catch (error) {
      await removeTrees([paths.checkpoint]);
      throw error;
    }
    if (!leaveRunning) await connection.exited;
    engine.database.appendEvent({
      kind: 'container',
      action: 'checkpoint',
      id: row.id,
      attributes: { name: row.name },
    });
    if (options.export === undefined) return;
    const changes = options.ignoreRootfs ? undefined : { upper: paths.upper, lowers: layers };
    const files = [`${paths.directory}/dump.log`, `${paths.directory}/stats-dump`];
    await writeArchive(
      { images: paths.checkpoint, documents: documents(row, config), files, changes },
      options.export,
      options.compress ?? 'zstd',
    );
    await removeTrees([paths.checkpoint]);
  } finally {
    connection.close();
    await reconcile(engine);
  }
}

function refuseImpossible(row: ContainerRow, settings: Settings, options: CheckpointOptions): void {
  if (process.geteuid!() !== 0) {
    throw new UnsupportedError('CHECKPOINT_UNSUPPORTED', 'a checkpoint needs root: CRIU cannot do without');
  }
  if (settings.rm && !options.leaveRunning) {
    throw new ConflictError(
      'CHECKPOINT_UNSUPPORTED',
      `container ${row.name} is of --rm, and would be gone with its checkpoint`,
      { hint: 'let it run on with --leave-running' },
    );
  }
  if (options.export === undefined && options.ignoreRootfs) {
    throw new InvalidArgumentError('CHECKPOINT_INVALID', '--ignore-rootfs is about an archive: give --export too');
  }
}

/** It is there whole or not at all, however we end. */
async function writeArchive(document: object, path: string, compression: Compression): Promise<void> {
  const compressor = compressorOf(compression);
  try {
    const output = await OutputFile.open(dirname(path));
    try {
      if (compressor === undefined) {
        await pack(document, openSync(`/proc/self/fd/${output.handle.fd}`, 'r+'));
      } else {
        const [read, write] = pipe();
        const packed = new Socket({ fd: read, readable: true, writable: false });
        const fill = (pieces: AsyncIterable<Uint8Array>) => output.handle.writeFile(pieces);
        const work = [pack(document, write), pipeline(packed, compressor, fill)];
        for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
      }
      await output.keep(path);
    } finally {
      await output.close();
    }
  } catch (error) {
    throw diskError(error);
  }
}

function compressorOf(compression: Compression): Transform | undefined {
  switch (compression) {
    case 'none':
      return undefined;
    case 'gzip':
      return zlib.createGzip({ level: 1 });
    case 'zstd':
      // Node has it from 22.15 on; readers tell the two apart by themselves.
      return typeof zlib.createZstdCompress === 'function' ? zlib.createZstdCompress() : zlib.createGzip({ level: 1 });
  }
}
