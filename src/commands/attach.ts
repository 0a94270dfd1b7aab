// `kapsel attach`: one's own streams joined to those of a running container.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { follow } from '../cli/session.ts';
import { yes } from '../cli/values/basic.ts';
import { detachKeys } from '../cli/values/detach-keys.ts';
import { Terminal } from '../ui/terminal.ts';
import { stdio } from './attachment.ts';

export const attach = defineCommand({
  name: 'attach',
  summary: 'Attach local standard input, output, and error streams to a running container',
  flags: {
    'detach-keys': { value: detachKeys, description: 'Override the key sequence for detaching a container' },
    'no-stdin': { value: yes, description: 'Do not attach STDIN' },
    'sig-proxy': { value: yes, description: 'Proxy all received signals to the process (default true)' },
  },
  arguments: [{ name: 'CONTAINER', required: true }],
  examples: [{ command: 'attach web', description: 'Let go with ctrl-p ctrl-q where it has a terminal' }],
  async run({ flags, args: [name = ''] }, context) {
    const { containers } = await context.engine();
    const container = await containers.get(name);
    const { Config, State } = await container.inspect();
    if (State['Paused'] === true) {
      throw new Failure('cannot attach to a paused container: unpause it first');
    }
    if (State['Running'] !== true) throw new Failure('cannot attach to a stopped container: start it first');
    const { Tty = false, OpenStdin = false } = Config as { Tty?: boolean; OpenStdin?: boolean };
    const streams = stdio({
      interactive: OpenStdin && !flags['no-stdin'],
      tty: Tty,
      detachKeys: flags['detach-keys'],
    });
    const terminal = Tty ? new Terminal() : undefined;
    const session = await container.attachTo(streams);
    const size = terminal?.size;
    if (size) await session.resize(size.columns, size.rows).catch(() => {});
    return follow(session, {
      terminal,
      interactive: streams.stdin !== undefined,
      sigProxy: flags['sig-proxy'] ?? true,
    });
  },
});
