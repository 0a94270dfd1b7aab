// Reading a container's log: Docker's json-file lines, the rotated files first, the end followed by inotify.

import { watch } from 'node:fs';
import { open, readdir, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

import { Alarm, rfc3339 } from '../events.ts';
import type { LogEntry, LogsOptions } from './options.ts';

/** A line of the file. */
interface Line {
  log: string;
  stream: 'stdout' | 'stderr';
  time: string;
}

const chunk = 64 * 1024;

/** The entries there are; with `follow`, also those to come until `ended` resolves or the signal fires. */
export async function* readLog(
  path: string,
  options: LogsOptions,
  ended: () => Promise<unknown>,
): AsyncGenerator<LogEntry> {
  const since = options.since === undefined ? '' : rfc3339(options.since);
  const until = options.until === undefined ? '\uffff' : rfc3339(options.until);
  const wanted = (line: Line) => line.time >= since && line.time <= until && options[line.stream] !== false;
  const entry = ({ log, stream, time }: Line): LogEntry => ({ stream, text: log, time });

  const alarm = new Alarm();
  const watcher = options.follow
    ? watch(dirname(path), (_, name) => name?.startsWith(basename(path)) && alarm.ring())
    : undefined;
  const stop = () => alarm.ring();
  options.signal?.addEventListener('abort', stop);
  let over = !options.follow;
  if (options.follow) {
    const end = () => {
      over = true;
      alarm.ring();
    };
    ended().then(end, end);
  }
  const file = new Tail(path);
  try {
    // What is there now. The last N are known only at its end.
    let last: LogEntry[] = [];
    for (const rotated of await rotatedFiles(path)) {
      const old = new Tail(rotated);
      for await (const line of old.lines()) if (wanted(line)) last.push(entry(line));
      await old.close();
      if (options.tail === undefined) {
        yield* last;
        last = [];
      } else {
        last = lastOf(last, options.tail);
      }
    }
    for await (const line of file.lines()) {
      if (!wanted(line)) continue;
      if (options.tail === undefined) yield entry(line);
      else {
        last.push(entry(line));
        if (last.length > 2 * options.tail + 64) last = lastOf(last, options.tail);
      }
    }
    if (options.tail !== undefined) yield* lastOf(last, options.tail);

    while (options.follow && !options.signal?.aborted) {
      const final = over;
      for await (const line of file.lines()) {
        if (line.time > until) return;
        if (wanted(line)) yield entry(line);
      }
      if (final) return;
      await alarm.heard();
    }
  } finally {
    watcher?.close();
    options.signal?.removeEventListener('abort', stop);
    await file.close();
  }
}

function lastOf(entries: LogEntry[], count: number): LogEntry[] {
  return count <= 0 ? [] : entries.slice(-count);
}

/** `log.2`, `log.1`: the oldest first. */
async function rotatedFiles(path: string): Promise<string[]> {
  const name = basename(path);
  const names = await readdir(dirname(path)).catch(() => [] as string[]);
  return names
    .flatMap((candidate) =>
      candidate.startsWith(`${name}.`) && /^\d+$/.test(candidate.slice(name.length + 1)) ? [candidate] : [],
    )
    .sort((one, other) => Number(other.slice(name.length + 1)) - Number(one.slice(name.length + 1)))
    .map((candidate) => `${dirname(path)}/${candidate}`);
}

/** A file that grows, and may be renamed and begun anew: the rest of the old one is read first. */
class Tail {
  readonly #path: string;
  #file: FileHandle | undefined;
  #position = 0;
  #partial = '';
  #decoder = new TextDecoder();

  constructor(path: string) {
    this.#path = path;
  }

  /** What has come since the last call, as far as lines are whole. */
  async *lines(): AsyncGenerator<Line> {
    for (;;) {
      this.#file ??= await open(this.#path).catch(() => undefined);
      if (this.#file === undefined) return;
      const buffer = Buffer.allocUnsafe(chunk);
      for (;;) {
        const { bytesRead } = await this.#file.read(buffer, 0, chunk, this.#position);
        if (bytesRead === 0) break;
        this.#position += bytesRead;
        const lines = (this.#partial + this.#decoder.decode(buffer.subarray(0, bytesRead), { stream: true })).split(
          '\n',
        );
        this.#partial = lines.pop()!;
        for (const line of lines) {
          const parsed = parse(line);
          if (parsed !== undefined) yield parsed;
        }
      }
      if (!(await this.#rotated())) return;
      await this.close();
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#position = 0;
    this.#partial = '';
    this.#decoder = new TextDecoder();
    await file?.close();
  }

  async #rotated(): Promise<boolean> {
    const now = await open(this.#path).catch(() => undefined);
    if (now === undefined) return false;
    try {
      const [mine, theirs] = await Promise.all([this.#file!.stat(), now.stat()]);
      return mine.ino !== theirs.ino;
    } finally {
      await now.close();
    }
  }
}

/** A line that a crash cut short is none. */
function parse(text: string): Line | undefined {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
}
