// The rooms that read and write by Node's own streams, loaded at the first use: node:net costs a command several
// milliseconds, and `kapsel run` in the foreground does without.

let loaded: Promise<typeof import('./supervise.ts')> | undefined;

export function supervision(): Promise<typeof import('./supervise.ts')> {
  loaded ??= import('./supervise.ts');
  return loaded;
}
