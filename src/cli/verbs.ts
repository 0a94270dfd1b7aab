// Which verbs there are. All descriptions are small and load together: a file more costs a hot verb more than their
// forty kilobytes. Docker's long forms (`container ls`, `image rm`) are the same verbs.
import { attach } from '../commands/attach.ts';
import { checkpoint } from '../commands/checkpoint.ts';
import { create } from '../commands/create.ts';
import { demo } from '../commands/demo.ts';
import { exec } from '../commands/exec.ts';
import { history } from '../commands/history.ts';
import { images } from '../commands/images.ts';
import { importCommand } from '../commands/import.ts';
import { info } from '../commands/info.ts';
import { inspect } from '../commands/inspect.ts';
import { kill } from '../commands/kill.ts';
import { load } from '../commands/load.ts';
import { login } from '../commands/login.ts';
import { logout } from '../commands/logout.ts';
import { logs } from '../commands/logs.ts';
import { pause } from '../commands/pause.ts';
import { pluginsInstall, pluginsLink, pluginsList, pluginsUninstall } from '../commands/plugins.ts';
import { ps } from '../commands/ps.ts';
import { pull } from '../commands/pull.ts';
import { restart } from '../commands/restart.ts';
import { restore } from '../commands/restore.ts';
import { rm } from '../commands/rm.ts';
import { rmi } from '../commands/rmi.ts';
import { run } from '../commands/run.ts';
import { search } from '../commands/search.ts';
import { start } from '../commands/start.ts';
import { stop } from '../commands/stop.ts';
import { tag } from '../commands/tag.ts';
import { unpause } from '../commands/unpause.ts';
import { version } from '../commands/version.ts';
import { volumeCreate, volumeList, volumeRemove } from '../commands/volume.ts';
import { wait } from '../commands/wait.ts';
import type { Command } from './command.ts';

/** Every description, in the order of their names. */
export const commands: readonly Command<any>[] = [
  attach,
  checkpoint,
  create,
  demo,
  exec,
  history,
  images,
  importCommand,
  info,
  inspect,
  kill,
  load,
  login,
  logout,
  logs,
  pause,
  pluginsInstall,
  pluginsLink,
  pluginsList,
  pluginsUninstall,
  ps,
  pull,
  restart,
  restore,
  rm,
  rmi,
  run,
  search,
  start,
  stop,
  tag,
  unpause,
  version,
  volumeCreate,
  volumeList,
  volumeRemove,
  wait,
];

const byName = new Map(commands.map((command) => [command.name, command]));

/** Docker's long forms, and the verbs they are. */
const longForms: ReadonlyMap<string, string> = new Map([
  ...'attach checkpoint create exec inspect kill logs pause ps restart restore rm run start stop unpause wait'
    .split(' ')
    .map((verb) => [`container ${verb}`, verb] as const),
  ...'history import inspect load pull tag'.split(' ').map((verb) => [`image ${verb}`, verb] as const),
  ['container ls', 'ps'],
  ['container list', 'ps'],
  ['container remove', 'rm'],
  ['image ls', 'images'],
  ['image list', 'images'],
  ['image rm', 'rmi'],
  ['image remove', 'rmi'],
  ['system info', 'info'],
  ['volume inspect', 'inspect'],
  ['volume list', 'volume ls'],
  ['volume remove', 'volume rm'],
]);

/** What stands before verbs of its own. */
export const nouns: Readonly<Record<string, string>> = {
  container: 'Manage containers',
  image: 'Manage images',
  plugins: 'List and manage plugins',
  system: 'Manage kapsel',
  volume: 'Manage volumes',
};

export interface Verb {
  command: Command<any>;
  /** What follows the verb. */
  rest: readonly string[];
}

/** The verb the words begin with, of two words where there is one. */
export function findVerb(words: readonly string[]): Verb | undefined {
  for (const length of [2, 1]) {
    if (words.length < length) continue;
    const typed = words.slice(0, length).join(' ');
    const command = byName.get(longForms.get(typed) ?? typed);
    if (!command) continue;
    const rest = words.slice(length);
    // `image inspect` looks for images alone.
    return { command, rest: typed.endsWith(' inspect') ? ['--type', words[0]!, ...rest] : rest };
  }
  return undefined;
}

/** The long forms of one verb. */
export function longFormsOf(name: string): string[] {
  return [...longForms].flatMap(([long, verb]) => (verb === name ? [long] : []));
}
