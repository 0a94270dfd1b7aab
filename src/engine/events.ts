// What has happened in the engine, in order, from the database; and what happens next, without polling.

import type { Engine } from './engine.ts';

export interface Event {
  /** Grows by one with each event of this engine. */
  sequence: number;
  /** RFC 3339. */
  time: string;
  type: 'container' | 'image' | 'volume';
  action: string;
  id: string;
  attributes: Readonly<Record<string, string>>;
}

export interface EventsOptions {
  since?: string | number | Date;
  until?: string | number | Date;
  signal?: AbortSignal;
}

export class Events {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** From `since` (now, when left out) until aborted. */
  async *follow(_options: EventsOptions = {}): AsyncGenerator<Event> {
    void this.#engine;
  }
}
