// Commands over several containers, images or volumes: one failure does not keep the others from being done.
import { Failure, describe } from '../cli/failure.ts';
import { say } from '../ui/output.ts';

/** Does it to each in turn; each failure has its line, and the exit code is 1 where there was one. */
export async function each(names: readonly string[], action: (name: string) => Promise<void>): Promise<number> {
  let failures = 0;
  for (const name of names) {
    try {
      await action(name);
    } catch (error) {
      if (error instanceof Failure && error.exitCode === 125) throw error;
      failures++;
      say(`kapsel: ${describe(error)}`);
    }
  }
  return failures === 0 ? 0 : 1;
}
