// Named directories that outlive containers, under ROOT/volumes. Who mounts them is the containers' business.

import type { Engine } from './engine.ts';

export interface Volume {
  name: string;
  /** The directory containers see. */
  mountpoint: string;
  createdAt: string;
  labels: Readonly<Record<string, string>>;
  /** Made for one container, without a name given. */
  anonymous: boolean;
}

export class Volumes {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** The volume of that name, made where there is none. A random name when left out. */
  async create(_options: { name?: string; labels?: Readonly<Record<string, string>> } = {}): Promise<Volume> {
    void this.#engine;
    throw new Error('not written yet');
  }

  async list(): Promise<Volume[]> {
    return [];
  }

  async inspect(name: string): Promise<Volume> {
    throw new Error(name);
  }

  /** VOLUME_IN_USE while a container mounts it. */
  async remove(_name: string, _options: { force?: boolean } = {}): Promise<void> {}
}
