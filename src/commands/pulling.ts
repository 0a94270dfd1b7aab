// Work that may fetch an image: shown as it happens, and ended by ctrl-c.
import { interruptible } from '../cli/interrupt.ts';
import type { LayerProgress } from '../engine/images.ts';
import { PullDisplay } from '../ui/pull-display.ts';

export interface Pulling {
  signal: AbortSignal;
  onProgress(progress: LayerProgress): void;
}

/** Signals are the caller's again, and the display is down, when the work's promise has settled. */
export async function pulling<T>(
  heading: string,
  quiet: boolean | undefined,
  work: (options: Pulling) => Promise<T>,
): Promise<T> {
  const interrupt = interruptible();
  const display = new PullDisplay({ heading, quiet });
  try {
    const result = await work({ signal: interrupt.signal, onProgress: display.update });
    await display.end();
    return result;
  } catch (error) {
    await display.end('failed');
    throw error;
  } finally {
    interrupt.release();
  }
}
