// A program's streams as Node's streams, and their contents collected.

import { Socket } from 'node:net';
import { Readable } from 'node:stream';

import { KapselError } from '../errors.ts';

export function reader(fd: number): Readable {
  return new Socket({ fd, readable: true, writable: false });
}

export function writer(fd: number): Socket {
  const socket = new Socket({ fd, readable: false, writable: true });
  // A program that does not read its input to the end is no error of ours.
  socket.on('error', () => {});
  return socket;
}

/** Everything a stream gives, to its end. `overflow` is called once when it is more than `most` bytes. */
export function collect(fd: number, most: number, overflow: () => void): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let length = 0;
  const stream = reader(fd);
  stream.on('data', (chunk: Buffer) => {
    const room = most - length;
    if (room <= 0) return;
    chunks.push(chunk.length > room ? chunk.subarray(0, room) : chunk);
    length += chunk.length;
    if (length > most) overflow();
  });
  stream.on('error', () => {});
  stream.on('close', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
  return promise;
}

/** Writes the input to its end and closes the pipe. */
export function feed(fd: number, input: string | Uint8Array | Readable): void {
  const stream = writer(fd);
  if (input instanceof Readable) {
    input.on('error', () => stream.destroy());
    input.pipe(stream);
  } else {
    stream.end(input);
  }
}

export const defaultMaxBuffer = 100 * 2 ** 20;

export function maxBufferExceeded(most: number): KapselError {
  return new KapselError('OUTPUT_TOO_LONG', `the program wrote more than ${most} bytes`, {
    hint: 'raise maxBuffer, or take the output as a stream',
  });
}
