// Writing to the three standard descriptors without Node's streams: loading them costs a hot command
// milliseconds, and a synchronous write is either done or failed when the process exits.
import { writeSync } from 'node:fs';

/** Writes all of it to standard output. When nobody reads any more, ends the process as SIGPIPE would. */
export function print(text: string | Uint8Array): void {
  writeAll(1, text);
}

export function printLine(text: string): void {
  writeAll(1, `${text}\n`);
}

/** A line to people: standard error. */
export function say(text: string): void {
  try {
    writeAll(2, `${text}\n`);
  } catch {
    // A closed stderr leaves nobody to tell.
  }
}

export function writeAll(descriptor: number, text: string | Uint8Array): void {
  let rest = typeof text === 'string' ? Buffer.from(text) : text;
  while (rest.byteLength > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EPIPE') process.exit(141);
      if (code !== 'EAGAIN') throw error;
      // Somebody made the pipe non-blocking and reads slowly: wait for room, a little at a time.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}
