// Flags before the verb, and the environment variables behind them: which engine is meant.
import { resolve } from 'node:path';
import type { Flags, GlobalOptions } from './command.ts';
import { parseFlags } from './parse.ts';
import { text, yes } from './values/basic.ts';

export const globalFlags = {
  debug: { value: yes, short: 'D', description: 'Show stack traces (DEBUG)' },
  version: { value: yes, short: 'v', description: 'Print version information and quit' },
  root: { value: text, description: 'Directory of what stays: images, containers, volumes (KAPSEL_ROOT)' },
  'run-root': { value: text, description: 'Directory of what a reboot may take (KAPSEL_RUN_ROOT)' },
  'cgroup-parent': { value: text, description: 'Cgroup under which containers get theirs (KAPSEL_CGROUP_PARENT)' },
  'default-network': {
    value: text,
    description: 'Network of containers that name none: bridge, none, host or NAME (KAPSEL_DEFAULT_NETWORK)',
  },
  'publish-default': {
    value: text,
    description: 'Address of the host for published ports that name none (KAPSEL_PUBLISH_DEFAULT)',
  },
} satisfies Flags;

export interface Globals extends GlobalOptions {
  help: boolean;
  version: boolean;
  /** The verb and what follows it. */
  rest: readonly string[];
}

/** Splits the command line at the verb. */
export function parseGlobals(argv: readonly string[], environment: NodeJS.ProcessEnv): Globals {
  const { values, args, help } =
    argv[0]?.startsWith('-') === true
      ? parseFlags({ name: '', flags: globalFlags, flagsEndAtFirstArgument: true }, argv)
      : { values: {} as Record<string, unknown>, args: argv, help: false };
  const directory = (flag: string, variable: string) => {
    const given = (values[flag] as string | undefined) ?? environment[variable];
    return given ? resolve(given) : undefined;
  };
  const word = (flag: string, variable: string) => (values[flag] as string | undefined) || environment[variable];
  const cgroupParent = word('cgroup-parent', 'KAPSEL_CGROUP_PARENT');
  const defaultNetwork = word('default-network', 'KAPSEL_DEFAULT_NETWORK');
  const publishDefault = word('publish-default', 'KAPSEL_PUBLISH_DEFAULT');
  const root = directory('root', 'KAPSEL_ROOT');
  const runRoot = directory('run-root', 'KAPSEL_RUN_ROOT');
  return {
    ...(root && { root }),
    ...(runRoot && { runRoot }),
    ...(cgroupParent && { cgroupParent }),
    ...(defaultNetwork && { defaultNetwork }),
    ...(publishDefault && { publishDefault }),
    debug: values['debug'] === true || Boolean(environment['DEBUG']),
    help,
    version: values['version'] === true,
    rest: args,
  };
}
