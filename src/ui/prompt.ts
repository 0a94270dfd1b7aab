// A question on the user's terminal. Node's readline is asked for only then.
import { Writable } from 'node:stream';

/** One line; not shown while it is typed where it is `secret`. Undefined where the input ends, or ctrl-c is typed. */
export async function prompt(
  question: string,
  { secret = false }: { secret?: boolean } = {},
): Promise<string | undefined> {
  const { createInterface } = await import('node:readline');
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  // Readline shows what is typed; a password goes to where nobody looks.
  const lines = createInterface({ input: process.stdin, output: secret ? silent : process.stderr, terminal: true });
  // Only now: what is typed at once is not shown by the terminal either.
  process.stderr.write(question);
  try {
    return await new Promise((resolve) => {
      lines.once('line', resolve);
      lines.once('close', () => resolve(undefined));
    });
  } finally {
    lines.close();
    if (secret) process.stderr.write('\n');
  }
}
