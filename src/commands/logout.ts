// `kapsel logout`: what is stored for a registry goes.
import { defineCommand } from '../cli/command.ts';
import { yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { registryFlags } from './registry-flags.ts';

export const logout = defineCommand({
  name: 'logout',
  summary: 'Log out from a registry',
  description: 'Docker Hub where no registry is named.',
  flags: {
    all: { value: yes, short: 'a', description: 'Remove the credentials for all registries' },
    authfile: registryFlags.authfile,
  },
  arguments: [{ name: 'SERVER' }],
  examples: [{ command: 'logout 127.0.0.1:5000', description: 'Forget one registry' }],
  async run({ flags, args: [server = 'docker.io'] }, context) {
    const { registries } = await context.engine();
    const access = { authFile: flags.authfile };
    if (flags.all) {
      for (const name of await registries.logoutAll(access)) printLine(`Removing login credentials for ${name}`);
    } else if (await registries.logout(server, access)) printLine(`Removing login credentials for ${server}`);
    else printLine(`Not logged in to ${server}`);
  },
});
