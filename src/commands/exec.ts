// `kapsel exec`: one more program in a running container.
import { defineCommand } from '../cli/command.ts';
import { follow } from '../cli/session.ts';
import { item, text, yes } from '../cli/values/basic.ts';
import { detachKeys } from '../cli/values/detach-keys.ts';
import { environment, variable } from '../cli/values/environment.ts';
import { Terminal } from '../ui/terminal.ts';
import { stdio } from './attachment.ts';

export const exec = defineCommand({
  name: 'exec',
  summary: 'Execute a command in a running container',
  flags: {
    detach: { value: yes, short: 'd', description: 'Detached mode: run command in the background' },
    'detach-keys': { value: detachKeys, description: 'Override the key sequence for detaching a container' },
    env: { value: variable, short: 'e', multiple: true, description: 'Set environment variables' },
    'env-file': { value: item, multiple: true, description: 'Read in a file of environment variables' },
    interactive: { value: yes, short: 'i', description: 'Keep STDIN open even if not attached' },
    privileged: { value: yes, description: 'Give extended privileges to the command' },
    tty: { value: yes, short: 't', description: 'Allocate a pseudo-TTY' },
    user: { value: text, short: 'u', description: 'Username or UID (format: <name|uid>[:<group|gid>])' },
    workdir: { value: text, short: 'w', description: 'Working directory inside the container' },
  },
  arguments: [
    { name: 'CONTAINER', required: true },
    { name: 'COMMAND', required: true },
    { name: 'ARG', multiple: true },
  ],
  flagsEndAtFirstArgument: true,
  examples: [
    { command: 'exec -it web bash', description: 'A shell beside the program' },
    { command: 'exec -u nobody -w /tmp web env', description: 'As somebody else, somewhere else' },
  ],
  async run({ flags, args: [name = '', ...command] }, context) {
    const streams = stdio({ ...flags, detachKeys: flags['detach-keys'] }, flags.detach);
    const terminal = flags.tty && !flags.detach ? new Terminal() : undefined;
    const { containers } = await context.engine();
    const container = await containers.get(name);
    const session = await container.execAttached(
      {
        command,
        env: environment(flags['env-file'], flags.env),
        ...(flags.user !== undefined && { user: flags.user }),
        ...(flags.workdir !== undefined && { workdir: flags.workdir }),
        interactive: flags.interactive ?? false,
        tty: flags.tty ?? false,
        privileged: flags.privileged ?? false,
        ...terminal?.size,
      },
      { ...streams, detach: flags.detach ?? false },
    );
    if (flags.detach) {
      await session.started;
      session.close();
      return 0;
    }
    return follow(session, { terminal, interactive: streams.stdin !== undefined, sigProxy: true });
  },
});
