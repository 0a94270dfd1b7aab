import type { ReadyImage } from '../../src/engine/images.ts';
export declare function scratchDirectory(name: string): Promise<{
  path: string;
  remove: () => Promise<void>;
}>;
/** Runs a shell line with the image mounted at `$ROOT`, in a mount namespace of its own. */
export declare function inImage(image: ReadyImage, line: string): Promise<string>;
