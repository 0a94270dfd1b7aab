// Work that TypeScript must not do itself, done by `kapsel-runtime`: unpacking, removing, collecting the host's programs.
// It starts the executable, feeds it, and turns what it says into values and errors; what to do with them is the caller's.

import { closeSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants as system } from 'node:os';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { compress, memfd, pipe, reap, runtimePath, spawn } from '../../native.ts';
import { AbortedError, errorFrom, type Failure, KapselError } from '../errors.ts';
import type { ImageDifference } from './types.ts';

/** What `unpack` answers. */
export interface Unpacked {
  digest: string;
  size: number;
  diffId: string;
  unpackedSize: number;
  entries: number;
  mediaType: string;
}

/** A file of the host that a `host:` image is made of. */
export interface HostSource {
  path: string;
  size: number;
  /** `seconds.nanoseconds`. */
  mtime: string;
  /** 0 of a link that is the image's own. */
  inode: number;
}

/**
 * Where a worker's input comes from: bytes as they arrive, or a descriptor that it reads itself and that is closed here.
 * `spent`: nobody looks at a piece again, so that its memory need not wait for the collector.
 */
export type Input = { bytes: (signal: AbortSignal) => AsyncIterable<Uint8Array>; spent?: boolean } | { fd: number };

export interface UnpackOptions {
  into: string;
  mode: 'layer' | 'archive';
  digest?: string | undefined;
  diffId?: string | undefined;
  /** A file that is not there yet: gets what is needed, beside the tree, to have the tar again. */
  recipe?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** A tar becomes a tree. Rejects with the input's failure where that came first, else with the worker's. */
export async function unpack(input: Input, options: UnpackOptions): Promise<Unpacked> {
  const { into, mode, digest, diffId, recipe, signal } = options;
  const args = ['unpack', '--into', into, '--mode', mode];
  if (digest !== undefined) args.push('--digest', digest);
  if (diffId !== undefined) args.push('--diff-id', diffId);
  if (recipe === undefined) return JSON.parse(await run(args, { input, signal })) as Unpacked;
  args.push('--recipe');
  return JSON.parse(await run(args, { input, recipe, signal })) as Unpacked;
}

/** A checkpoint and all that belongs to it becomes a tar on a descriptor, which is closed here. */
export async function pack(document: object, output: number): Promise<void> {
  await run(['pack'], { document, output });
}

/**
 * Removes trees, whatever is in them and whoever owns it; what is not there is no error.
 * The unpacker of a process that was killed may still be writing for a moment, until it sees that its input has ended.
 */
export async function removeTrees(paths: string[]): Promise<void> {
  if (paths.length === 0) return;
  for (let pause = 20; ; pause *= 2) {
    try {
      await run(['reap'], { document: { remove: paths } });
      return;
    } catch (error) {
      if (!(error instanceof KapselError) || error.code !== 'REMOVE_FAILED' || pause > 1000) throw error;
      await sleep(pause);
    }
  }
}

/** Bytes of allocated blocks. */
export interface TreeUsage {
  size: number;
  /** That become free when the trees of the set are all removed. */
  freed: number;
}

/** What sets of trees (or files) take. */
export async function measure(sets: readonly (readonly string[])[]): Promise<TreeUsage[]> {
  return JSON.parse(await run(['usage'], { document: { sets } })) as TreeUsage[];
}

/** A new layer's tree, and those of others that may have the same files, the likeliest first. */
export interface Newcomer {
  tree: string;
  with: string[];
}

/** Files of new layers that others have just so become one file with a name in each. */
export async function shareFiles(newcomers: readonly Newcomer[]): Promise<void> {
  await run(['share'], { document: newcomers });
}

/** What differs between the trees of two stacks of layers, each topmost first. */
export async function compareTrees(
  first: readonly string[],
  second: readonly string[],
  times: boolean,
): Promise<ImageDifference[]> {
  const lines = await run(['compare'], { document: { first, second, times } });
  return lines.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as ImageDifference]));
}

export async function hostSources(programs: string[], path: string): Promise<HostSource[]> {
  return JSON.parse(await run(['host', '--list', ...programs], { env: { PATH: path } })) as HostSource[];
}

/** The host's programs become a tree without passing through this process. */
export async function unpackHost(programs: string[], path: string, options: UnpackOptions): Promise<Unpacked> {
  const [read, write] = pipe();
  const collecting = run(['host', ...programs], { env: { PATH: path }, output: write, signal: options.signal });
  return await both(collecting, unpack({ fd: read }, options));
}

/** What one worker writes another unpacks: of two failures the one that came first is told. */
async function both(writing: Promise<unknown>, unpacking: Promise<Unpacked>): Promise<Unpacked> {
  const [written, unpacked] = await Promise.allSettled([writing, unpacking]);
  // The pipe breaks where the reader has given up, and it knows why.
  const isReadersFault = written.status === 'rejected' && (written.reason as KapselError).errno === system.errno.EPIPE;
  if (written.status === 'rejected' && !isReadersFault) throw written.reason;
  if (unpacked.status === 'rejected') throw unpacked.reason;
  if (written.status === 'rejected') throw written.reason;
  return unpacked.value;
}

/** What a worker says of a layer's blob that it has written. */
export interface Written {
  digest: string;
  size: number;
  diffId: string;
  unpackedSize: number;
  mediaType: string;
}

/** What a worker writes, and what it says at its end: a worker that cannot go on ends the stream early. */
export interface Output<T> {
  stream: Readable;
  verdict: Promise<T>;
}

/** A layer of the store. */
export interface StoredBlob {
  tree: string;
  recipe: string;
  diffId: string;
}

/** The blob of a layer, made anew: its tar by a worker, packed by the addon, and neither passes through this thread. */
export function layerBlob({
  tree,
  recipe,
  diffId,
  compression,
  level,
  signal,
}: StoredBlob & {
  compression: 'none' | 'gzip' | 'zstd';
  /** The method's own measure of effort. */
  level?: number | undefined;
  signal?: AbortSignal | undefined;
}): Output<Written> {
  const args = ['layer', '--tree', tree, '--recipe', recipe, '--diff-id', diffId];
  const { output, verdict } = produce(args, true, signal);
  const tar = verdict.then((said) => JSON.parse(said) as Pick<Written, 'diffId' | 'unpackedSize'>);
  const mediaType = 'application/vnd.oci.image.layer.v1.tar';
  if (compression === 'none') {
    const whole = tar.then((is) => ({ digest: is.diffId, size: is.unpackedSize, ...is, mediaType }));
    return { stream: reader(output), verdict: whole };
  }
  const [read, write] = pipe();
  const packed = compress({ input: output, output: write, compression, ...(level !== undefined && { level }) });
  // The worker's own failure says more than that its reader had to stop.
  const whole = Promise.allSettled([tar, packed]).then(([made, blob]) => {
    if (made.status === 'rejected' && made.reason.code !== 'OUTPUT_FAILED') throw made.reason;
    if (blob.status === 'rejected') throw blob.reason;
    if (made.status === 'rejected') throw made.reason;
    return { ...blob.value, ...made.value, mediaType: `${mediaType}+${compression}` };
  });
  return { stream: reader(read), verdict: whole };
}

/** Reads a layer again; rejects where it is not what it was. */
export async function checkLayer(layer: StoredBlob & { signal?: AbortSignal | undefined }): Promise<void> {
  const { stream, verdict } = layerBlob({ ...layer, compression: 'none' });
  stream.resume();
  await verdict;
}

/** A tree and what it lies on, topmost first. */
export interface Changes {
  upper: string;
  lowers: readonly string[];
  /** Seconds since 1970: what is newer is written as if it were of then. */
  sourceDateEpoch?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** What the upper tree has added, changed and deleted. */
export async function diffList({
  upper,
  lowers,
  signal,
}: Omit<Changes, 'sourceDateEpoch'>): Promise<{ kind: 'A' | 'C' | 'D'; path: string }[]> {
  const lines = await run(['diff', '--list', ...trees({ upper, lowers })], { signal });
  return lines
    .split('\n')
    .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as { kind: 'A' | 'C' | 'D'; path: string }]));
}

/** The upper tree as a layer of the store, without passing through this process. */
export async function unpackDiff({ signal, ...changes }: Changes, options: UnpackOptions): Promise<Unpacked> {
  const [read, write] = pipe();
  const writing = run(['diff', ...trees(changes)], { output: write, signal });
  return await both(writing, unpack({ fd: read }, options));
}

/** Trees that lie on each other, topmost first, as the tar of the one that they make. */
export function exportTar({ signal, ...changes }: Omit<Changes, 'upper'>): Output<void> {
  const { output, verdict } = produce(['export', ...trees(changes)], false, signal);
  return { stream: reader(output), verdict: verdict.then(() => undefined) };
}

function trees({ upper, lowers, sourceDateEpoch }: Partial<Changes> & Pick<Changes, 'lowers'>): string[] {
  return [
    ...(sourceDateEpoch === undefined ? [] : ['--source-date-epoch', String(sourceDateEpoch)]),
    ...(upper === undefined ? [] : ['--upper', upper]),
    ...lowers.flatMap((lower) => ['--lower', lower]),
  ];
}

/** Starts the executable: where its standard output is read, and, where it `tells`, what it writes to fd 3 as the verdict. */
function produce(
  args: string[],
  tells: boolean,
  signal: AbortSignal | undefined,
): { output: number; verdict: Promise<string> } {
  const written = pipe();
  const complained = pipe();
  const told = tells ? pipe() : undefined;
  const theirs = [written[1], complained[1], ...(told ? [told[1]] : [])];
  let pid: number;
  try {
    if (signal?.aborted) throw new AbortedError();
    pid = spawn({ path: runtimePath(), argv: ['kapsel-runtime', ...args], env: [], fds: [null, ...theirs] });
  } catch (error) {
    for (const [read] of [written, complained, ...(told ? [told] : [])]) closeSync(read);
    throw error;
  } finally {
    for (const fd of theirs) closeSync(fd);
  }
  const stdout = told && reader(told[0]);
  return { output: written[0], verdict: attend(pid, args[0]!, { stdout, stderr: reader(complained[0]), signal }) };
}

function reader(fd: number): Socket {
  return new Socket({ fd, readable: true, writable: false });
}

interface RunOptions {
  input?: Input;
  /** On fd 3. */
  document?: object;
  /** Locks that it has too, behind its document: whoever has asked for the work may be killed before its end. */
  held?: readonly number[];
  env?: Record<string, string>;
  /** A new file on its fd 3, where that is no document. */
  recipe?: string;
  /** Instead of being read here; closed here. */
  output?: number;
  signal?: AbortSignal | undefined;
}

/** Runs a verb of the executable to its end and gives back what it wrote. */
export async function run(
  args: string[],
  { input, document, held = [], recipe, env = {}, output, signal }: RunOptions,
): Promise<string> {
  const theirs: number[] = [];
  const mine: number[] = [];
  const give = (fd: number): number => {
    theirs.push(fd);
    return fd;
  };
  const listen = (): { fd: number; stream: () => Socket } => {
    const [read, write] = pipe();
    mine.push(read);
    return { fd: give(write), stream: () => new Socket({ fd: read, readable: true, writable: false }) };
  };
  const talk = (): { fd: number; stream: () => Socket } => {
    const [read, write] = pipe();
    mine.push(write);
    // What is written is gone before more is asked for.
    const options = { fd: write, readable: false, writable: true, writableHighWaterMark: 1 };
    return { fd: give(read), stream: () => new Socket(options) };
  };
  try {
    if (input && 'fd' in input) give(input.fd);
    if (output !== undefined) give(output);
    if (signal?.aborted) throw new AbortedError();
    const stdin = input && 'bytes' in input ? talk() : undefined;
    const stdout = output === undefined ? listen() : undefined;
    const stderr = listen();
    const fds = [stdin?.fd ?? (input && 'fd' in input ? input.fd : null), stdout?.fd ?? output ?? null, stderr.fd];
    if (document) fds.push(give(memfd(JSON.stringify(document))));
    else if (recipe !== undefined) fds.push(give(openSync(recipe, 'wx', 0o600)));
    fds.push(...held);
    const lines = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const pid = spawn({ path: runtimePath(), argv: ['kapsel-runtime', ...args], env: lines, fds });
    mine.length = 0;
    return attend(pid, args[0]!, {
      ...(stdin && input && 'bytes' in input && { feed: { ...input, pipe: stdin.stream() } }),
      stdout: stdout?.stream(),
      stderr: stderr.stream(),
      signal,
    });
  } finally {
    for (const fd of [...theirs, ...mine]) closeSync(fd);
  }
}

interface Attended {
  feed?: { bytes: (signal: AbortSignal) => AsyncIterable<Uint8Array>; spent?: boolean; pipe: Socket };
  stdout: Socket | undefined;
  stderr: Socket;
  signal: AbortSignal | undefined;
}

async function attend(pid: number, verb: string, { feed, stdout, stderr, signal }: Attended): Promise<string> {
  let over = false;
  const kill = (): void => {
    if (!over) process.kill(pid, 'SIGKILL');
  };
  signal?.addEventListener('abort', kill);
  const gone = new AbortController();
  // Its streams end with it. Only then is it waited for: the wait takes a thread that a resolver may need.
  const said = Promise.all([stdout ? text(stdout) : '', text(stderr)]).finally(() => gone.abort());
  let failure: unknown;
  if (feed) {
    const stop = signal ? AbortSignal.any([signal, gone.signal]) : gone.signal;
    try {
      const bytes = feed.bytes(stop);
      await pipeline(feed.spent ? released(bytes) : bytes, feed.pipe, { signal: stop });
    } catch (error) {
      // A broken pipe, and whatever follows the worker's end, is for the worker to explain.
      if (!gone.signal.aborted && (error as NodeJS.ErrnoException).code !== 'EPIPE') {
        failure = error;
        kill();
      }
    }
  }
  const [written, complaint] = await said;
  over = true;
  signal?.removeEventListener('abort', kill);
  const { exitCode, signal: killer } = await reap(pid);
  if (signal?.aborted) throw new AbortedError();
  if (failure !== undefined) throw failure;
  if (exitCode === 0) return written;
  throw workerError(verb, complaint, killer);
}

/** Gives each piece's memory back once it has been taken: V8 lets 64 MB of such pieces pile up before it looks. */
async function* released(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of bytes) {
    yield piece;
    const { buffer, byteLength } = piece;
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
  }
}

function workerError(verb: string, complaint: string, killer: number | null): KapselError {
  try {
    const failure = JSON.parse(complaint.trim().split('\n').at(-1)!) as Failure;
    if (typeof failure.code === 'string' && typeof failure.message === 'string') return errorFrom(failure);
  } catch {
    // It died without a word of its own.
  }
  const how = killer === null ? complaint.trim().split('\n')[0] || 'no reason given' : `signal ${killer}`;
  return new KapselError(
    'WORKER_FAILED',
    `kapsel-runtime ${verb} ended: ${how}${killer === 9 ? ' (out of memory?)' : ''}`,
  );
}
