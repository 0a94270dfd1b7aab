// Where a sink's files go: into a directory, or into a tar that is written on the way. A file's name may follow from its
// content, which a tar's header precedes: where the tar cannot be written out of order, the content waits in a scratch file.

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, writeSync } from 'node:fs';
import { mkdir, open, readFile, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StorageError } from '../../errors.ts';
import { diskError } from '../../disk.ts';
import { OutputFile } from '../../output-file.ts';
import { randomHex } from '../../random.ts';
import { tarHeader, tarPadding } from './tar.ts';

export interface WrittenFile {
  digest: string;
  size: number;
}

export interface Files {
  /** Adds a file, called as what was written says; a name that is there already keeps what it has. */
  add(bytes: AsyncIterable<Uint8Array>, name: (written: WrittenFile) => string): Promise<WrittenFile>;
  /** What is there under that name from before, where there can be anything. */
  read(name: string): Promise<Buffer | undefined>;
  finish(): Promise<void>;
  /** Takes away what was added. */
  discard(): Promise<void>;
}

/** A directory, made where there is none; what is in it stays. */
export class DirectoryFiles implements Files {
  readonly #path: string;
  readonly #added: string[] = [];
  readonly #made: string[] = [];

  private constructor(path: string) {
    this.#path = path;
  }

  static async open(path: string): Promise<DirectoryFiles> {
    const files = new DirectoryFiles(path);
    await refusing(path, () => files.#makeDirectory(path));
    return files;
  }

  async add(bytes: AsyncIterable<Uint8Array>, name: (written: WrittenFile) => string): Promise<WrittenFile> {
    return await refusing(this.#path, async () => {
      const file = await OutputFile.open(this.#path, 0o666);
      try {
        const written = await copyInto(bytes, (piece) => file.handle.writeFile(piece));
        const path = join(this.#path, name(written));
        await this.#makeDirectory(dirname(path));
        const isNew = !existsSync(path);
        await file.keep(path);
        if (isNew) this.#added.push(path);
        return written;
      } finally {
        await file.close();
      }
    });
  }

  async read(name: string): Promise<Buffer | undefined> {
    return await readFile(join(this.#path, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  async discard(): Promise<void> {
    for (const path of this.#added) await rm(path, { force: true });
    for (const path of this.#made.toReversed()) await rmdir(path).catch(() => {});
  }

  async #makeDirectory(path: string): Promise<void> {
    const first = await mkdir(path, { recursive: true });
    if (first === undefined) return;
    const made: string[] = [];
    for (let one = path; one.length >= first.length; one = dirname(one)) made.unshift(one);
    this.#made.push(...made);
  }
}

interface NamedLater {
  output: OutputFile;
  path: string;
}

/** A tar: at a path, where it appears whole or not at all, or on a descriptor as it comes. */
export class TarFiles implements Files {
  readonly #names = new Set<string>();
  readonly #scratch: string;
  /** Undefined for a descriptor. */
  readonly #file: NamedLater | undefined;
  readonly #descriptor: number;
  #at = 0;
  /** One file after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(scratch: string, file: NamedLater | undefined, descriptor: number) {
    this.#scratch = scratch;
    this.#file = file;
    this.#descriptor = descriptor;
  }

  /** `scratch` is an empty directory of the caller's; a number is a descriptor that stays the caller's. */
  static async open(output: string | number, scratch: string): Promise<TarFiles> {
    if (typeof output === 'number') return new TarFiles(scratch, undefined, output);
    return await refusing(output, async () => {
      const file = await OutputFile.open(dirname(output));
      return new TarFiles(scratch, { output: file, path: output }, file.handle.fd);
    });
  }

  add(bytes: AsyncIterable<Uint8Array>, name: (written: WrittenFile) => string): Promise<WrittenFile> {
    const turn = this.#turn.then(() => (this.#file ? this.#addInPlace(bytes, name) : this.#addByWay(bytes, name)));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  read(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async finish(): Promise<void> {
    await refusing(this.#file?.path ?? 'standard output', async () => {
      await this.#write(Buffer.alloc(1024));
      if (!this.#file) return;
      const { output, path } = this.#file;
      await output.handle.truncate(this.#at);
      await output.keep(path);
      await output.close();
    });
  }

  async discard(): Promise<void> {
    await this.#file?.output.close();
  }

  /** The header is written last, into the place that was left for it. */
  async #addInPlace(bytes: AsyncIterable<Uint8Array>, name: (written: WrittenFile) => string): Promise<WrittenFile> {
    const start = this.#at;
    return await refusing(this.#file!.path, async () => {
      this.#at += 512;
      const written = await copyInto(bytes, (piece) => this.#write(piece));
      const called = name(written);
      if (this.#names.has(called)) this.#at = start;
      else {
        await this.#write(tarPadding(written.size));
        const end = this.#at;
        this.#at = start;
        await this.#write(tarHeader(called, written.size));
        this.#at = end;
      }
      this.#names.add(called);
      return written;
    });
  }

  async #addByWay(bytes: AsyncIterable<Uint8Array>, name: (written: WrittenFile) => string): Promise<WrittenFile> {
    const temporary = join(this.#scratch, randomHex(8));
    return await refusing(temporary, async () => {
      const file = await open(temporary, 'wx', 0o600);
      try {
        const written = await copyInto(bytes, (piece) => file.writeFile(piece));
        const called = name(written);
        if (this.#names.has(called)) return written;
        this.#names.add(called);
        await this.#write(tarHeader(called, written.size));
        for await (const piece of createReadStream(temporary, { highWaterMark: 1 << 18 })) {
          await this.#write(piece as Buffer);
        }
        await this.#write(tarPadding(written.size));
        return written;
      } finally {
        await file.close();
        await rm(temporary, { force: true });
      }
    });
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; rest.length > 0;) {
      if (this.#file) {
        const { bytesWritten } = await this.#file.output.handle.write(rest, 0, rest.length, this.#at);
        rest = rest.subarray(bytesWritten);
        this.#at += bytesWritten;
      } else {
        rest = rest.subarray(await writeSome(this.#descriptor, rest));
      }
    }
  }
}

/** A pipe may have been made non-blocking: then a little later. */
async function writeSome(descriptor: number, bytes: Uint8Array): Promise<number> {
  for (;;) {
    try {
      return writeSync(descriptor, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

async function copyInto(
  bytes: AsyncIterable<Uint8Array>,
  write: (piece: Uint8Array) => Promise<unknown>,
): Promise<WrittenFile> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const piece of bytes) {
    hash.update(piece);
    size += piece.length;
    await write(piece);
  }
  return { digest: `sha256:${hash.digest('hex')}`, size };
}

async function refusing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const known = diskError(error);
    if (known !== error || (error as NodeJS.ErrnoException).syscall === undefined) throw known;
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'no such directory' : code === 'ENOTDIR' ? 'not a directory' : message;
    throw new StorageError('OUTPUT_REFUSED', `cannot write ${path}: ${reason}`, { cause: error });
  }
}
