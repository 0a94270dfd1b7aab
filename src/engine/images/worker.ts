// Work that TypeScript must not do itself, done by `kapsel-runtime`: unpacking, removing, collecting the host's programs.
// It starts the executable, feeds it, and turns what it says into values and errors; what to do with them is the caller's.

import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { memfd, pipe, reap, runtimePath, spawn } from '../../native.ts';
import { AbortedError, errorFrom, type Failure, ImageError, KapselError } from '../errors.ts';
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

/** Where a worker's input comes from: bytes as they arrive, or a descriptor that it reads itself and that is closed here. */
export type Input = { bytes: (signal: AbortSignal) => AsyncIterable<Uint8Array> } | { fd: number };

export interface UnpackOptions {
  into: string;
  mode: 'layer' | 'archive';
  digest?: string | undefined;
  diffId?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** A tar becomes a tree. Rejects with the input's failure where that came first, else with the worker's. */
export async function unpack(input: Input, { into, mode, digest, diffId, signal }: UnpackOptions): Promise<Unpacked> {
  const args = ['unpack', '--into', into, '--mode', mode];
  if (digest !== undefined) args.push('--digest', digest);
  if (diffId !== undefined) args.push('--diff-id', diffId);
  return JSON.parse(await run(args, { input, signal })) as Unpacked;
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

/** What sets of trees (or files) take; in the directory `links` files that trees share have one more name, which goes last. */
export async function measure(sets: readonly (readonly string[])[], links?: string): Promise<TreeUsage[]> {
  return JSON.parse(await run(['usage'], { document: { sets, links } })) as TreeUsage[];
}

/** What differs between the trees of two stacks of layers, each topmost first. */
export async function compareTrees(first: readonly string[], second: readonly string[]): Promise<ImageDifference[]> {
  const lines = await run(['compare'], { document: { first, second } });
  return lines.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as ImageDifference]));
}

export async function hostSources(programs: string[], path: string): Promise<HostSource[]> {
  return JSON.parse(await run(['host', '--list', ...programs], { env: { PATH: path } })) as HostSource[];
}

/** The host's programs become a tree without passing through this process. */
export async function unpackHost(programs: string[], path: string, options: UnpackOptions): Promise<Unpacked> {
  const [read, write] = pipe();
  const collecting = run(['host', ...programs], { env: { PATH: path }, output: write, signal: options.signal });
  const [collected, unpacked] = await Promise.allSettled([collecting, unpack({ fd: read }, options)]);
  if (collected.status === 'rejected') throw collected.reason;
  if (unpacked.status === 'rejected') throw unpacked.reason;
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

/** The blob of a layer, made anew. */
export function layerBlob({
  tree,
  recipe,
  compression,
  signal,
}: StoredBlob & {
  compression: 'none' | 'gzip' | 'zstd';
  signal?: AbortSignal | undefined;
}): Output<Written> {
  const args = ['layer', '--tree', tree, '--recipe', recipe, '--compression', compression];
  const { stream, verdict } = produce(args, true, signal);
  return { stream, verdict: verdict.then((said) => JSON.parse(said) as Written) };
}

/** Reads a layer again; rejects where it is not what it was. */
export async function checkLayer({
  signal,
  ...blob
}: StoredBlob & { signal?: AbortSignal | undefined }): Promise<void> {
  const { stream, verdict } = layerBlob({ ...blob, compression: 'none', signal });
  stream.resume();
  const { diffId } = await verdict;
  if (diffId === blob.diffId) return;
  throw new ImageError('DIFF_ID_MISMATCH', `it is ${diffId} now: the disk has changed it`);
}

/** A tree and what it lies on, topmost first. */
export interface Changes {
  upper: string;
  lowers: readonly string[];
  signal?: AbortSignal | undefined;
}

/** What the upper tree has added, changed and deleted. */
export async function diffList({ upper, lowers, signal }: Changes): Promise<{ kind: 'A' | 'C' | 'D'; path: string }[]> {
  const lines = await run(['diff', '--list', ...trees({ upper, lowers })], { signal });
  return lines
    .split('\n')
    .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as { kind: 'A' | 'C' | 'D'; path: string }]));
}

/** The upper tree as a layer of the store, without passing through this process. */
export async function unpackDiff({ signal, ...changes }: Changes, options: UnpackOptions): Promise<Unpacked> {
  const [read, write] = pipe();
  const writing = run(['diff', ...trees(changes)], { output: write, signal });
  const [written, unpacked] = await Promise.allSettled([writing, unpack({ fd: read }, options)]);
  if (written.status === 'rejected') throw written.reason;
  if (unpacked.status === 'rejected') throw unpacked.reason;
  return unpacked.value;
}

/** Trees that lie on each other, topmost first, as the tar of the one that they make. */
export function exportTar({ lowers, signal }: Omit<Changes, 'upper'>): Output<void> {
  const { stream, verdict } = produce(['export', ...lowers.flatMap((lower) => ['--lower', lower])], false, signal);
  return { stream, verdict: verdict.then(() => undefined) };
}

function trees({ upper, lowers }: Omit<Changes, 'signal'>): string[] {
  return ['--upper', upper, ...lowers.flatMap((lower) => ['--lower', lower])];
}

/** Starts the executable; its standard output is the stream, and where it `tells`, what it writes to fd 3 the verdict. */
function produce(args: string[], tells: boolean, signal: AbortSignal | undefined): Output<string> {
  const written = pipe();
  const complained = pipe();
  const told = tells ? pipe() : undefined;
  const reader = ([fd]: readonly [number, number]) => new Socket({ fd, readable: true, writable: false });
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
  const stream = reader(written);
  const attended = attend(pid, args[0]!, { stdout: told && reader(told), stderr: reader(complained), signal });
  return { stream, verdict: attended };
}

interface RunOptions {
  input?: Input;
  /** On fd 3. */
  document?: object;
  env?: Record<string, string>;
  /** Instead of being read here; closed here. */
  output?: number;
  signal?: AbortSignal | undefined;
}

/** Runs the executable to its end and gives back what it wrote. */
async function run(args: string[], { input, document, env = {}, output, signal }: RunOptions): Promise<string> {
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
    return { fd: give(read), stream: () => new Socket({ fd: write, readable: false, writable: true }) };
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
    const lines = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const pid = spawn({ path: runtimePath(), argv: ['kapsel-runtime', ...args], env: lines, fds });
    mine.length = 0;
    return attend(pid, args[0]!, {
      ...(stdin && input && 'bytes' in input && { feed: { bytes: input.bytes, pipe: stdin.stream() } }),
      stdout: stdout?.stream(),
      stderr: stderr.stream(),
      signal,
    });
  } finally {
    for (const fd of [...theirs, ...mine]) closeSync(fd);
  }
}

interface Attended {
  feed?: { bytes: (signal: AbortSignal) => AsyncIterable<Uint8Array>; pipe: Socket };
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
      await pipeline(feed.bytes(stop), feed.pipe, { signal: stop });
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
