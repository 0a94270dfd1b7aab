// The layers of the store: the tree ROOT/layers/HEX and the recipe ROOT/layers/HEX.recipe, complete or not there.
// What is being made is ROOT/layers/.HEX, under the lock ROOT/layers/.HEX.lock; one directory for both, since renaming a
// directory into another needs the right to write to it, which a layer's root may deny to a user who is not root.

import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type Database, type LayerRow, syncFileSystem } from '../../native.ts';
import { KapselError, StorageError } from '../errors.ts';
import { layerPath } from './layer-path.ts';
import { type Lock, lock, tryLock } from './locks.ts';
import { newcomersOf } from './sharing.ts';
import { removeTrees, shareFiles, type StoredBlob } from './worker.ts';

/** A layer being made, or removed. */
export interface Staged {
  /** An empty directory. */
  path: string;
  /** Where its recipe goes: no file yet. */
  recipe: string;
  lock: Lock;
}

/** A layer that only we may make. */
export interface StagedLayer extends Staged {
  diffId: string;
}

export class Layers {
  readonly #root: string;
  readonly #directory: string;
  readonly #database: Database;

  constructor(root: string, database: Database) {
    this.#root = root;
    this.#directory = join(root, 'layers');
    this.#database = database;
    mkdirSync(this.#directory, { recursive: true, mode: 0o711 });
  }

  path(diffId: string): string {
    return layerPath(this.#root, diffId);
  }

  /** What the worker needs to make its blob anew. */
  blobOf(diffId: string): StoredBlob {
    return { tree: this.path(diffId), recipe: this.recipe(diffId), diffId };
  }

  /** Everything of the layer's tar that is not in its tree. */
  recipe(diffId: string): string {
    return `${this.path(diffId)}.recipe`;
  }

  /** A layer that is recorded and there. */
  find(diffId: string): LayerRow | undefined {
    const row = this.#database.layer(diffId);
    return row && this.#isThere(diffId) ? row : undefined;
  }

  /** An empty directory for a layer under its lock, or undefined if by then another has made it. */
  async stage(diffId: string, signal?: AbortSignal, onWait?: () => void): Promise<StagedLayer | undefined> {
    const path = this.#staging(hex(diffId));
    const held = await lock(`${path}.lock`, signal, onWait);
    try {
      if (this.find(diffId)) {
        held.release();
        return undefined;
      }
      await this.#clear(path);
      return { diffId, path, recipe: recipeOf(path), lock: held };
    } catch (error) {
      held.release();
      throw error;
    }
  }

  /** As `stage`, for a layer whose diffID is known only afterwards; the name is random. */
  async stageUnnamed(name: string, signal?: AbortSignal): Promise<Staged> {
    const path = this.#staging(name);
    const held = await lock(`${path}.lock`, signal);
    try {
      await this.#clear(path);
      return { path, recipe: recipeOf(path), lock: held };
    } catch (error) {
      held.release();
      throw error;
    }
  }

  /** A tree that was filled before its diffID was known takes the place of the empty one. */
  adopt({ path, recipe }: Staged, staged: StagedLayer): void {
    rmdirSync(staged.path);
    renameSync(path, staged.path);
    renameSync(recipe, staged.recipe);
  }

  /** Complete trees become layers: files that others have already, everything to the disk, then the names, then the rows. */
  async publish(made: { staged: StagedLayer; row: LayerRow }[]): Promise<void> {
    if (made.length === 0) return;
    const newcomers = newcomersOf(made, this.#database.layers(), this.#root);
    if (newcomers.length > 0) await shareFiles(newcomers);
    await syncFileSystem(this.#directory);
    const replaced: string[] = [];
    try {
      await this.#expose(made, replaced);
    } catch (error) {
      // What has a name but no row goes back to where the caller discards it.
      for (const { staged } of made) {
        if (!existsSync(staged.path) && !this.#database.layer(staged.diffId)) {
          renameSync(this.path(staged.diffId), staged.path);
          renameSync(this.recipe(staged.diffId), staged.recipe);
        }
      }
      throw error;
    }
    try {
      await removeTrees(replaced);
    } finally {
      for (const { staged } of made) staged.lock.release();
    }
  }

  async #expose(made: { staged: StagedLayer; row: LayerRow }[], replaced: string[]): Promise<void> {
    for (const { staged } of made) {
      const path = this.path(staged.diffId);
      if (existsSync(path)) {
        // Without a row (we hold its lock): what a crash between the two left.
        const aside = `${staged.path}.old`;
        renameSync(path, aside);
        replaced.push(aside);
      }
      // A layer is there when its tree is: the recipe has its name before.
      renameSync(staged.recipe, this.recipe(staged.diffId));
      renameSync(staged.path, path);
    }
    await syncDirectory(this.#directory);
    for (const { row } of made) this.#database.insertLayer(row);
  }

  /**
   * Carries out `work` while nobody can remove the trees of these layers, which have to be recorded when it calls
   * `record`. Their rows another process may forget with the last image that had them until this one has them: they are
   * put back.
   */
  async withRows(
    rows: readonly LayerRow[],
    work: (record: (insert: () => void) => void) => Promise<void>,
  ): Promise<void> {
    const held: Lock[] = [];
    try {
      for (const diffId of rows.map((row) => row.diffId).sort()) {
        held.push(await lock(`${this.#staging(hex(diffId))}.lock`));
        if (!this.#isThere(diffId)) gone(diffId);
      }
      await work((insert) => this.#record(rows, insert));
    } finally {
      for (const one of held) one.release();
    }
  }

  #record(rows: readonly LayerRow[], insert: () => void): void {
    for (let attempt = 1; ; attempt++) {
      for (const row of rows) if (!this.#database.layer(row.diffId)) this.#database.insertLayer(row);
      try {
        insert();
        return;
      } catch (error) {
        if (!isGone(error) || attempt === 100) throw error;
      }
    }
  }

  /** Removes half-made trees and lets go of their locks. */
  async discard(staged: Iterable<Staged>): Promise<void> {
    const all = [...staged];
    try {
      await removeTrees(all.flatMap(({ path, recipe }) => [path, recipe]));
    } finally {
      for (const { lock: held } of all) held.release();
    }
  }

  /** Removes layers that the database has forgotten; one that somebody makes anew is theirs. */
  async remove(diffIds: readonly string[]): Promise<void> {
    const doomed: Staged[] = [];
    for (const diffId of diffIds) {
      const path = this.#staging(hex(diffId));
      const held = tryLock(`${path}.lock`);
      if (!held) continue;
      const tree = this.path(diffId);
      const isTree = existsSync(tree);
      if (this.#database.layer(diffId) || !(isTree || existsSync(this.recipe(diffId)))) {
        held.release();
        continue;
      }
      await removeTrees([path, recipeOf(path)].filter(existsSync));
      // The tree first: a recipe alone is no layer.
      if (isTree) renameSync(tree, path);
      if (existsSync(this.recipe(diffId))) renameSync(this.recipe(diffId), recipeOf(path));
      doomed.push({ path, recipe: recipeOf(path), lock: held });
    }
    await this.discard(doomed);
  }

  /** Removes what processes that died had begun, or had not finished to remove. What cannot go now hinders nobody. */
  async sweep(): Promise<void> {
    try {
      await this.#sweep();
    } catch (error) {
      if (!(error instanceof KapselError)) throw error;
    }
  }

  async #sweep(): Promise<void> {
    const entries = readdirSync(this.#directory);
    const recorded = new Set(this.#database.layers().map(({ diffId }) => hex(diffId)));
    const names = new Set(
      entries.filter((name) => name.startsWith('.')).map((name) => name.slice(1).replace(/\.(lock|old|recipe)$/, '')),
    );
    const dead: Staged[] = [];
    for (const name of names) {
      const path = this.#staging(name);
      const held = tryLock(`${path}.lock`);
      if (!held) continue;
      dead.push({ path, recipe: recipeOf(path), lock: held });
      if (existsSync(`${path}.old`)) await removeTrees([`${path}.old`]);
    }
    await this.discard(dead);
    const forgotten = entries.map((name) => /^([0-9a-f]{64})(\.recipe)?$/.exec(name)?.[1]);
    const isForgotten = (name: string | undefined) => name !== undefined && !recorded.has(name);
    await this.remove([...new Set(forgotten.filter(isForgotten))].map((name) => `sha256:${name}`));
  }

  #isThere(diffId: string): boolean {
    return existsSync(this.path(diffId)) && existsSync(this.recipe(diffId));
  }

  #staging(name: string): string {
    return join(this.#directory, `.${name}`);
  }

  async #clear(path: string): Promise<void> {
    await removeTrees([path, recipeOf(path)].filter(existsSync));
    mkdirSync(path);
    // Becomes the root of a file system, where the tar has no entry for it: whatever the user's umask.
    chmodSync(path, 0o755);
  }
}

/** A layer that was there a moment ago: whoever needs it begins again. */
export function gone(diffId: string): never {
  throw new StorageError('LAYER_NOT_FOUND', `layer ${diffId} was removed while an image of it was made: try again`);
}

export function isGone(error: unknown): boolean {
  return error instanceof KapselError && error.code === 'LAYER_NOT_FOUND';
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function hex(diffId: string): string {
  return diffId.slice('sha256:'.length);
}

function recipeOf(path: string): string {
  return `${path}.recipe`;
}
