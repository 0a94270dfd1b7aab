// `kapsel logs`: what a container has written, each stream to its own.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { interruptible } from '../cli/interrupt.ts';
import { text, yes } from '../cli/values/basic.ts';
import { timestamp } from '../cli/values/time.ts';
import { writeAll } from '../ui/output.ts';

export const logs = defineCommand({
  name: 'logs',
  summary: 'Fetch the logs of a container',
  flags: {
    follow: { value: yes, short: 'f', description: 'Follow log output' },
    since: {
      value: timestamp,
      description: 'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
    },
    tail: { value: text, short: 'n', description: 'Number of lines to show from the end of the logs (default "all")' },
    timestamps: { value: yes, short: 't', description: 'Show timestamps' },
    until: { value: timestamp, description: 'Show logs before a timestamp or relative (e.g. "42m" for 42 minutes)' },
  },
  arguments: [{ name: 'CONTAINER', required: true }],
  examples: [{ command: 'logs -f --tail 20 web', description: 'The last lines, and those to come' }],
  async run({ flags, args: [name = ''] }, context) {
    const tail = flags.tail === undefined || flags.tail === 'all' ? undefined : Number(flags.tail);
    if (tail !== undefined && !Number.isSafeInteger(tail)) {
      throw new Failure(`invalid value for "tail": ${flags.tail}: give a number of lines, or all`);
    }
    const engine = await context.engine();
    const container = await engine.containers.get(name);
    const interrupt = interruptible();
    try {
      const entries = container.logs({
        follow: flags.follow ?? false,
        ...(tail !== undefined && tail >= 0 && { tail }),
        ...(flags.since !== undefined && { since: flags.since }),
        ...(flags.until !== undefined && { until: flags.until }),
        signal: interrupt.signal,
      });
      for await (const entry of entries) {
        writeAll(entry.stream === 'stderr' ? 2 : 1, flags.timestamps ? `${entry.time} ${entry.text}` : entry.text);
      }
      return interrupt.signal.aborted ? 130 : 0;
    } finally {
      interrupt.release();
    }
  },
});
