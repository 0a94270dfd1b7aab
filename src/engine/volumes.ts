// Named directories that outlive containers, under ROOT/volumes. Who mounts them is written in the containers' settings.

import type { VolumeRow } from '../native.ts';
import type { Engine } from './engine.ts';
import { ConflictError, InvalidArgumentError, NotFoundError } from './errors.ts';
import { randomHex } from './random.ts';
import { makeDirectory } from './containers/prepare.ts';
import type { Settings } from './containers/settings.ts';

export interface Volume {
  name: string;
  /** The directory containers see. */
  mountpoint: string;
  /** RFC 3339. */
  createdAt: string;
  labels: Readonly<Record<string, string>>;
  /** Made for one container, without a name given. */
  anonymous: boolean;
}

/** Docker's mark of a volume without a name of its own. */
const anonymousLabel = 'com.docker.volume.anonymous';

export class Volumes {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** The volume of that name, made where there is none; a random name when left out. */
  async create(options: { name?: string; labels?: Readonly<Record<string, string>> } = {}): Promise<Volume> {
    const name = options.name ?? randomHex(32);
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name) || name.length > 255) {
      throw new InvalidArgumentError(
        'VOLUME_NAME_INVALID',
        `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed`,
        { exitCode: 1 },
      );
    }
    const labels = { ...options.labels, ...(options.name === undefined ? { [anonymousLabel]: '' } : {}) };
    this.#engine.database.insertVolume({ name, labels });
    this.#makeDirectory(name);
    return this.inspect(name);
  }

  async list(): Promise<Volume[]> {
    return this.#engine.database.volumes().map((row) => this.#describe(row));
  }

  /** VOLUME_NOT_FOUND where there is none. */
  async inspect(name: string): Promise<Volume> {
    return this.#describe(this.#engine.database.volume(name));
  }

  /** VOLUME_IN_USE while a container, running or not, mounts it. With `force`, one that is not there is no error. */
  async remove(name: string, options: { force?: boolean } = {}): Promise<void> {
    const { reap, reconcile } = await import('./containers/reap.ts');
    await reconcile(this.#engine);
    try {
      this.#engine.database.volume(name);
    } catch (error) {
      if (options.force && error instanceof NotFoundError) return;
      throw error;
    }
    const user = this.#engine.database
      .containers()
      .find(({ document }) => volumeNames(document as Settings).includes(name));
    if (user !== undefined) {
      throw new ConflictError('VOLUME_IN_USE', `remove ${name}: volume is in use - [${user.id}]`);
    }
    await reap(undefined, [this.#directory(name)]);
    this.#engine.database.removeVolume(name);
  }

  /** Makes those of a container's volumes that are not there yet, for the host's id of its root. */
  prepare(settings: Settings, owner?: number): void {
    for (const mount of settings.mounts) {
      if (mount.type !== 'volume') continue;
      const labels: Record<string, string> = mount.anonymous ? { [anonymousLabel]: '' } : {};
      this.#engine.database.insertVolume({ name: mount.source, labels });
      this.#makeDirectory(mount.source, owner);
    }
  }

  #describe({ name, createdAt, labels }: VolumeRow): Volume {
    return {
      name,
      mountpoint: `${this.#directory(name)}/_data`,
      createdAt,
      labels,
      anonymous: anonymousLabel in labels,
    };
  }

  #makeDirectory(name: string, owner?: number): void {
    makeDirectory(this.#directory(name), 0o711);
    makeDirectory(`${this.#directory(name)}/_data`, 0o755, owner);
  }

  #directory(name: string): string {
    return `${this.#engine.root}/volumes/${name}`;
  }
}

export function volumeNames(settings: Settings): string[] {
  return settings.mounts.flatMap((mount) => (mount.type === 'volume' ? [mount.source] : []));
}
