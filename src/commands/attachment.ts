// Which of kapsel's own streams a program gets, as Docker decides it from -a, -i, -t and -d.
import { Failure } from '../cli/failure.ts';
import type { Stdio } from '../engine/containers/options.ts';
import { isTerminal } from '../ui/terminal.ts';

export interface Attachment {
  attach?: readonly string[] | undefined;
  interactive?: boolean | undefined;
  tty?: boolean | undefined;
  detachKeys?: Uint8Array | undefined;
}

/** The descriptors to join. Refuses to give a program a terminal whose input is none. */
export function stdio(
  { attach = [], interactive = false, tty = false, detachKeys }: Attachment,
  detach: boolean | undefined = false,
): Stdio {
  if (detach) return {};
  const streams = attach.map((stream) => stream.toLowerCase());
  for (const stream of streams) {
    if (!['stdin', 'stdout', 'stderr'].includes(stream)) {
      throw new Failure(
        `invalid argument ${JSON.stringify(stream)} for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR`,
        125,
      );
    }
  }
  const wanted = (stream: string) => streams.length === 0 || streams.includes(stream);
  const stdin = interactive && wanted('stdin');
  if (tty && stdin && !isTerminal(0)) throw new Failure('the input device is not a TTY', 1);
  return {
    ...(stdin && { stdin: 0 }),
    ...(wanted('stdout') && { stdout: 1 }),
    ...(wanted('stderr') && !tty && { stderr: 2 }),
    ...(detachKeys && { detachKeys }),
  };
}
