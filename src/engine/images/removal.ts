// Docker's `rmi`: which names go, whether the image goes with them, and what stands in the way.

import type { ContainerRow, Database, ImageRow } from '../../native.ts';
import { ConflictError } from '../errors.ts';
import { parts, shortId, shown } from './words.ts';

export interface RemovalPlan {
  /** Stored names to take away, in order. */
  untag: string[];
  /** Whether the image goes too. */
  delete: boolean;
}

/**
 * `named` is the stored name that the user gave, or undefined where it was an id.
 * A container that lives keeps its image whatever `force` says.
 */
export function planRemoval(
  database: Database,
  image: ImageRow,
  named: string | undefined,
  force: boolean,
): RemovalPlan {
  const names = image.references.map((stored) => ({ stored, ...parts(stored) }));
  if (named !== undefined) {
    const { repository, digest } = parts(named);
    const untag = [named];
    // The digests of a repository go with its last tag: they came with it.
    const others = names.filter(
      (name) => name.repository === repository && name.digest === null && name.stored !== named,
    );
    if (digest === null && others.length === 0) {
      untag.push(
        ...names.filter((name) => name.repository === repository && name.digest !== null).map((name) => name.stored),
      );
    }
    if (untag.length < names.length) return { untag, delete: false };
    const user = userOf(database, image.id);
    if (user && (isLiving(user) || !force)) {
      throw conflict(
        isLiving(user) && force
          ? `unable to delete ${shortId(image.id)} (cannot be forced) - image is being used by running container ${shortId(user.id)}`
          : `unable to remove repository reference "${shown(named)}" (must force) - container ${shortId(user.id)} is using its referenced image ${shortId(image.id)}`,
      );
    }
    return { untag, delete: true };
  }
  const repositories = new Set(names.map(({ repository }) => repository));
  if (!force && (repositories.size > 1 || names.filter(({ digest }) => digest === null).length > 1)) {
    throw conflict(
      `unable to delete ${shortId(image.id)} (must be forced) - image is referenced in multiple repositories`,
    );
  }
  const user = userOf(database, image.id);
  if (user && isLiving(user)) {
    throw conflict(
      `unable to delete ${shortId(image.id)} (cannot be forced) - image is being used by running container ${shortId(user.id)}`,
    );
  }
  if (user && !force) {
    throw conflict(
      `unable to delete ${shortId(image.id)} (must be forced) - image is being used by stopped container ${shortId(user.id)}`,
    );
  }
  return { untag: image.references, delete: true };
}

/** Whether a container or another image is made of it. */
export function isNeeded(database: Database, id: string): boolean {
  return userOf(database, id) !== undefined || database.images().some(({ parentId }) => parentId === id);
}

/** A container that uses the image, a living one before the others. */
function userOf(database: Database, id: string): ContainerRow | undefined {
  const users = database.containers().filter(({ imageId }) => imageId === id);
  return users.find(isLiving) ?? users[0];
}

function isLiving({ status }: ContainerRow): boolean {
  return status === 'starting' || status === 'running' || status === 'paused';
}

function conflict(what: string): ConflictError {
  return new ConflictError('IMAGE_IN_USE', `conflict: ${what}`);
}
