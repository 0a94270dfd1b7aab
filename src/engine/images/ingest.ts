// A source's image → the store: the missing layers, all at once, each from where it comes straight into an unpacker.
// Everything or nothing: layers become visible together, after one sync, and the image only with all of them.

import { availableParallelism } from 'node:os';
import { AbortedError, KapselError, StorageError } from '../errors.ts';
import { parseConfig } from '../../registry/manifest.ts';
import type { ImageConfig } from '../../registry/oci.ts';
import type { LayerRow } from '../../native.ts';
import { gone, type Layers, type StagedLayer } from './layers.ts';
import { checkPlatform, otherPlatform } from './platform.ts';
import type { SourceImage, SourceLayer } from './source.ts';
import type { LayerProgress, TransferOptions } from './types.ts';
import { unpack } from './worker.ts';

export interface Ingested {
  config: ImageConfig;
  /** Lowest first. */
  diffIds: string[];
  /** Each layer once. */
  rows: LayerRow[];
  /** Whether a layer came in. */
  changed: boolean;
}

/** More unpackers than this only take memory: hostile manifests name hundreds of layers. */
const atOnce = Math.max(8, 2 * availableParallelism());

export async function ingest(
  layers: Layers,
  image: SourceImage,
  { platform, signal, onProgress }: TransferOptions,
): Promise<Ingested> {
  const config = parseConfig(image.config.bytes, image.layers.length, `the config of ${image.name}`);
  checkPlatform(config, platform, image.name);
  if (config.os !== 'linux') throw otherPlatform(config, 'linux', image.name);
  const diffIds = config.rootfs.diff_ids;
  const sources = new Map(diffIds.map((diffId, index) => [diffId, image.layers[index]!] as const));
  const report = (diffId: string, phase: LayerProgress['phase'], bytes = 0): void => {
    const { digest, size } = sources.get(diffId)!;
    onProgress?.({ layer: digest ?? diffId, phase, bytes, total: size });
  };
  const missing: string[] = [];
  for (const diffId of sources.keys()) {
    if (layers.find(diffId)) report(diffId, 'exists');
    else {
      report(diffId, 'waiting');
      missing.push(diffId);
    }
  }
  if (missing.length > 0) await fetchAgain(() => fetchLayers(layers, image.name, sources, missing, report, signal));
  const rows = [...sources.keys()].map((diffId) => layers.find(diffId) ?? gone(diffId));
  return { config, diffIds, rows, changed: missing.length > 0 };
}

/** What a mirror, or an earlier try, gave may be wrong where the registry is not: once more without. */
async function fetchAgain(fetch: () => Promise<void>): Promise<void> {
  try {
    await fetch();
  } catch (error) {
    if (!(error instanceof Spoiled)) throw error;
    await fetch().catch((again: unknown) => {
      throw again instanceof Spoiled ? again.cause : again;
    });
  }
}

class Spoiled extends Error {
  constructor(cause: unknown) {
    super('bytes from elsewhere were wrong', { cause });
  }
}

/** Failures that say nothing about the bytes. */
const innocent = new Set(['ABORTED', 'REGISTRY_UNREACHABLE', 'REGISTRY_RATE_LIMITED', 'WORKER_FAILED']);

function isBytesFault(error: unknown): boolean {
  return error instanceof KapselError && !(error instanceof StorageError) && !innocent.has(error.code);
}

async function fetchLayers(
  layers: Layers,
  name: string,
  sources: ReadonlyMap<string, SourceLayer>,
  missing: readonly string[],
  report: (diffId: string, phase: LayerProgress['phase'], bytes?: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  await layers.sweep();
  const failed = new AbortController();
  const stop = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const staged: StagedLayer[] = [];
  const slots = new Slots(atOnce);
  const work: Promise<{ staged: StagedLayer; row: LayerRow }>[] = [];
  let failure: unknown;
  const fail = (error: unknown): void => {
    failure ??= error;
    failed.abort();
  };
  try {
    // In one order for every process, since locks are kept until the end: two pulls must not wait for each other.
    for (const diffId of [...missing].sort()) {
      const layer = await layers.stage(diffId, stop, () => report(diffId, 'waiting-other'));
      if (!layer) {
        report(diffId, 'exists');
        continue;
      }
      staged.push(layer);
      await slots.take();
      if (stop.aborted) break;
      const made = fetchLayer(layer, name, sources.get(diffId)!, stop, (bytes) => report(diffId, 'downloading', bytes));
      made.catch(fail).finally(() => slots.give());
      work.push(made);
    }
    const made = await Promise.all(work);
    if (stop.aborted) throw new AbortedError();
    await layers.publish(made);
    for (const { row } of made) {
      sources.get(row.diffId)!.done?.();
      report(row.diffId, 'done', row.size);
    }
  } catch (error) {
    fail(error);
    await Promise.allSettled(work);
    await layers.discard(staged);
    throw failure;
  }
}

async function fetchLayer(
  staged: StagedLayer,
  name: string,
  source: SourceLayer,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<{ staged: StagedLayer; row: LayerRow }> {
  const { diffId, path, recipe } = staged;
  async function* counted(stop: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    let bytes = 0;
    for await (const piece of source.open(stop)) {
      bytes += piece.length;
      yield piece;
      onBytes(bytes);
    }
  }
  try {
    const { digest } = source;
    const { size, unpackedSize } = await unpack(
      { bytes: counted, spent: true },
      { into: path, mode: 'layer', digest, diffId, recipe, signal },
    );
    return { staged, row: { diffId, size, unpackedSize } };
  } catch (error) {
    const failure = named(error, source.digest ?? diffId, name);
    throw isBytesFault(error) && source.spoiled?.() ? new Spoiled(failure) : failure;
  }
}

/** An unpacker knows the bytes, not whose they are. */
function named(error: unknown, layer: string, name: string): unknown {
  if (!(error instanceof KapselError) || error.code === 'ABORTED' || error.message.includes(name)) return error;
  error.message = `layer ${layer} of ${name}: ${error.message}`;
  return error;
}

/** So many at a time. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(free: number) {
    this.#free = free;
  }

  async take(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
