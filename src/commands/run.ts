// `kapsel run`: a new container, in the foreground or detached.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { follow } from '../cli/session.ts';
import { yes } from '../cli/values/basic.ts';
import { detachKeys } from '../cli/values/detach-keys.ts';
import { printLine } from '../ui/output.ts';
import { Terminal } from '../ui/terminal.ts';
import { stdio } from './attachment.ts';
import { openCidFile } from './cidfile.ts';
import { containerFlags, createOptions, warn } from './container-flags.ts';
import { pulling } from './pulling.ts';

export const run = defineCommand({
  name: 'run',
  summary: 'Create and run a new container from an image',
  flags: {
    ...containerFlags,
    detach: { value: yes, short: 'd', description: 'Run container in background and print container ID' },
    'detach-keys': { value: detachKeys, description: 'Override the key sequence for detaching a container' },
    'sig-proxy': { value: yes, description: 'Proxy received signals to the process (default true)' },
  },
  arguments: [{ name: 'IMAGE', required: true }, { name: 'COMMAND' }, { name: 'ARG', multiple: true }],
  flagsEndAtFirstArgument: true,
  failure: 125,
  examples: [
    { command: 'run --rm host:bash,ls bash -c "ls /"', description: "An image made of this machine's own programs" },
    { command: 'run -it --rm debian:12 bash', description: 'An interactive shell' },
    { command: 'run -d --name web -m 512m --cpus 1.5 nginx', description: 'In the background, within limits' },
    { command: 'run --rm -v "$PWD:/src:ro" -w /src node:24 npm test', description: 'With a directory of the host' },
  ],
  async run({ flags, args: [image = '', ...command] }, context) {
    if (flags.detach && flags.attach.length > 0) {
      throw new Failure('conflicting options: cannot specify both --attach and --detach');
    }
    const options = { ...createOptions(flags, command), onWarning: warn };
    const streams = stdio({ ...flags, detachKeys: flags['detach-keys'] }, flags.detach);
    const terminal = flags.tty && !flags.detach ? new Terminal() : undefined;
    const { containers } = await context.engine();
    const cidFile = openCidFile(flags.cidfile);
    try {
      if (flags.detach) {
        const container = await pulling(`Pulling ${image}`, flags.quiet, (progress) =>
          containers.start(image, { ...options, ...progress, detach: true }),
        );
        cidFile.write(container.id);
        printLine(container.id);
        return 0;
      }
      const session = await pulling(`Pulling ${image}`, flags.quiet, (progress) =>
        containers.runAttached(image, { ...options, ...progress, ...terminal?.size }, streams),
      );
      cidFile.write(session.container.id);
      return await follow(session, {
        terminal,
        interactive: streams.stdin !== undefined,
        sigProxy: flags['sig-proxy'] ?? true,
      });
    } finally {
      cidFile.close();
    }
  },
});
