// Images that this process has found ready before: a second container of one needs neither its row nor a look at each of its
// layers.

import { statSync } from 'node:fs';

import { layersDirectory } from './layer-path.ts';
import type { ReadyImage } from './types.ts';

/** What an image's id means never changes. */
type Ready = Omit<ReadyImage, 'id' | 'reference'>;

const most = 32;

export class ReadyMemory {
  readonly #root: string;
  /** By id; `state`: that of the directory of all layers when each of these was there. */
  readonly #known = new Map<string, { ready: Ready; state: number | undefined }>();

  constructor(root: string) {
    this.#root = root;
  }

  get isEmpty(): boolean {
    return this.#known.size === 0;
  }

  /** That of the directory of all layers, which is another when one of them has come or gone. */
  state(): number | undefined {
    return statSync(layersDirectory(this.#root), { throwIfNoEntry: false })?.mtimeMs;
  }

  /** `state`: from before the look at the layers. */
  keep(id: string, { config, layers }: Ready, state: number | undefined): void {
    if (this.#known.size === most) this.#known.clear();
    this.#known.set(id, { ready: { config, layers }, state });
  }

  /** Undefined where nothing is known, or a layer may have gone since. */
  get(id: string): Ready | undefined {
    const found = this.#known.get(id);
    return found?.state === this.state() ? found?.ready : undefined;
  }
}
