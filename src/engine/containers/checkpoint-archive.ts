// The archive of a checkpoint as podman, CRI-O and containerd have it (github.com/checkpoint-restore/checkpointctl, "lib"):
//
//   checkpoint/                CRIU's images
//   config.dump, spec.dump     the container's name, image and times; its OCI config
//   rootfs-diff.tar            files that it has added or changed
//   deleted.files              the list of those it has removed
//   network.status, dump.log, stats-dump
//
// and, for our own restore, kapsel.json: the container's settings.

import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import type { ContainerRow } from '../../native.ts';
import { now } from '../../native.ts';
import { StorageError } from '../errors.ts';
import { encode } from './launch.ts';
import type { Settings } from './settings.ts';

/** The version of kapsel.json. */
const version = 1;
/** Bytes of the longest document that is read. */
const longest = 16 * 2 ** 20;

/** What a restore knows of the container that was. */
export interface Archived {
  id: string;
  name: string;
  image: { id: string; reference: string };
  /** Lowest first. */
  layers: string[];
  labels: Record<string, string>;
  settings: Settings;
  /** Absolute paths in the container. */
  deleted: string[];
  /** Where it was unpacked. */
  directory: string;
}

/** The documents of an archive: names and texts. */
export function documents(row: ContainerRow, config: object): [name: string, text: string][] {
  const { id, name, image, imageId, layers, labels, document, createdAt } = row;
  const { network } = document as Settings;
  const shared = {
    id,
    name,
    rootfsImageID: imageId.replace(/^sha256:/, ''),
    rootfsImageRef: imageId,
    rootfsImageName: image,
    runtime: 'kapsel-runtime',
    // podman's words: without them it takes the container for one that is in a network namespace of somebody's.
    createNetNS: network !== 'host',
    networkMode: network.includes(':') ? 'none' : network,
    createdTime: createdAt,
    checkpointedTime: now(),
    labels,
  };
  const own = { version, id, name, image: { id: imageId, reference: image }, layers, labels, settings: document };
  return [
    ['config.dump', JSON.stringify(shared)],
    ['spec.dump', encode(config)],
    ['network.status', '{}'],
    ['kapsel.json', JSON.stringify(own)],
  ];
}

/** Reads what was unpacked; nothing in it is trusted to be what its name says. */
export function readArchive(directory: string, archive: string): Archived {
  const own = json(directory, 'kapsel.json', archive) as (Archived & { version: number }) | undefined;
  if (own === undefined) {
    const other =
      json(directory, 'config.dump', archive) === undefined ? 'no checkpoint' : 'a checkpoint of another engine';
    throw damaged(archive, `it is ${other}: kapsel restores what kapsel checkpoint has exported`);
  }
  if (own.version !== version) throw damaged(archive, `it is of version ${own.version}, and known is ${version}`);
  if (!/^[0-9a-f]{64}$/.test(own.id)) throw damaged(archive, 'the id in its kapsel.json is none');
  const images = join(directory, 'checkpoint');
  const names = lstatSync(images, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(images) : [];
  if (!names.includes('descriptors.json')) throw damaged(archive, 'it has no images of CRIU');
  if (!names.every((name) => lstatSync(join(images, name)).isFile()))
    throw damaged(archive, 'an image of CRIU is no file');
  const deleted = json(directory, 'deleted.files', archive) ?? [];
  if (!Array.isArray(deleted) || !deleted.every((path) => typeof path === 'string')) {
    throw damaged(archive, 'deleted.files is no list of paths');
  }
  return { ...own, deleted, directory };
}

/** The tar of what the container had changed; none where that was left out. */
export function changesOf({ directory }: Archived): number | undefined {
  return openFile(join(directory, 'rootfs-diff.tar'));
}

function json(directory: string, name: string, archive: string): unknown {
  const fd = openFile(join(directory, name));
  if (fd === undefined) return undefined;
  try {
    if (fstatSync(fd).size > longest) throw damaged(archive, `${name} is longer than 16 MiB`);
    return JSON.parse(readFileSync(fd, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw damaged(archive, `${name} is not valid JSON`);
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** A regular file and not through a link; undefined where there is none. */
function openFile(path: string): number | undefined {
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
  return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
}

export function damaged(archive: string, why: string): StorageError {
  return new StorageError('CHECKPOINT_INVALID', `cannot restore ${archive}: ${why}`);
}
