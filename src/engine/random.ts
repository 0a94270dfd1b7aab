// Chance, straight from the kernel. node:crypto has the same, but loading it takes three milliseconds, a tenth of a
// whole `kapsel run`.
import { closeSync, openSync, readSync } from 'node:fs';

/** So many random bytes, as hexadecimal digits. */
export function randomHex(count: number): string {
  return randomBytes(count).toString('hex');
}

/** A whole number from 0 to `limit` - 1; its bias for limits of people's names is below one in four thousand million. */
export function randomBelow(limit: number): number {
  return Number(randomBytes(8).readBigUInt64LE() % BigInt(limit));
}

function randomBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  const device = openSync('/dev/urandom', 'r');
  try {
    // The kernel gives up to 256 bytes whole.
    readSync(device, bytes);
  } finally {
    closeSync(device);
  }
  return bytes;
}
