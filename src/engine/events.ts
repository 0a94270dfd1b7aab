// What has happened in the engine, in order, from the database; and what happens next, woken by the kernel, never polling.

import { watch } from 'node:fs';

import type { EventKind, EventRow } from '../native.ts';
import type { Engine } from './engine.ts';
import { InvalidArgumentError } from './errors.ts';

export interface Event {
  /** Grows with each event of this engine. */
  sequence: number;
  /** RFC 3339, nanoseconds, UTC. */
  time: string;
  type: EventKind;
  /** Docker's word. */
  action: string;
  id: string;
  attributes: Readonly<Record<string, string>>;
}

export interface EventsOptions {
  /** RFC 3339, Unix seconds, or a Date. Without it, only what happens from now on. */
  since?: string | number | Date;
  /** The stream ends there instead of going on. */
  until?: string | number | Date;
  signal?: AbortSignal;
}

const batch = 256;

export class Events {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Until aborted, or until `until`. */
  async *follow(options: EventsOptions = {}): AsyncGenerator<Event> {
    const { database, root } = this.#engine;
    const since = options.since === undefined ? undefined : rfc3339(options.since);
    const until = options.until === undefined ? undefined : rfc3339(options.until);
    // The log grows with each transaction; a checkpoint touches the file itself.
    const alarm = new Alarm();
    const watcher = watch(root, (_, name) => {
      if (name?.startsWith('kapsel.db')) alarm.ring();
    });
    const stop = () => alarm.ring();
    options.signal?.addEventListener('abort', stop);
    const timer =
      until === undefined
        ? undefined
        : setTimeout(stop, Math.max(0, Math.min(Date.parse(until) - Date.now(), 2 ** 31 - 1)));
    try {
      let after = 0;
      const from = since ?? rfc3339(new Date());
      while (!options.signal?.aborted) {
        const rows = database.events({ after, since: from, ...(until === undefined ? {} : { until }), limit: batch });
        for (const row of rows) {
          yield describe(row);
          after = row.seq;
        }
        if (rows.length === batch) continue;
        if (until !== undefined && Date.parse(until) <= Date.now()) return;
        await alarm.heard();
      }
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', stop);
      watcher.close();
    }
  }
}

/** Rings that come while nobody waits are heard by the next who does. */
export class Alarm {
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async heard(): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#rung = false;
    this.#wake = undefined;
  }
}

/** A point in time in the form the database and the logs keep, so that texts compare as times do. */
export function rfc3339(time: string | number | Date): string {
  if (typeof time === 'string' && !/^\d+(\.\d+)?$/.test(time)) {
    const [, whole, fraction = '', zone] = /^([^.]*?)(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})?$/.exec(time) ?? [];
    const milliseconds = Date.parse(`${whole}${zone ?? ''}`);
    if (whole === undefined || Number.isNaN(milliseconds)) {
      throw new InvalidArgumentError('TIME_INVALID', `invalid time '${time}': give RFC 3339, or Unix seconds`);
    }
    return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, `.${fraction.padEnd(9, '0')}Z`);
  }
  if (time instanceof Date) return time.toISOString().replace('Z', '000000Z');
  const [seconds = '0', fraction = ''] = String(time).split('.');
  return new Date(Number(seconds) * 1000).toISOString().replace(/\.\d+Z$/, `.${fraction.slice(0, 9).padEnd(9, '0')}Z`);
}

function describe({ seq, time, kind, action, id, attributes }: EventRow): Event {
  return { sequence: seq, time, type: kind, action, id, attributes };
}
