// Which verbs there are. All descriptions are small and load together: a file more costs a hot verb more than their
// forty kilobytes. Docker's long forms (`container ls`, `image rm`) are the same verbs.
import { attach } from '../commands/attach.ts';
import { checkpoint } from '../commands/checkpoint.ts';
import { commit } from '../commands/commit.ts';
import { copy } from '../commands/copy.ts';
import { create } from '../commands/create.ts';
import { demo } from '../commands/demo.ts';
import { diff } from '../commands/diff.ts';
import { exec } from '../commands/exec.ts';
import { exportCommand } from '../commands/export.ts';
import { history } from '../commands/history.ts';
import { imageDiff, imageTree } from '../commands/image.ts';
import { images } from '../commands/images.ts';
import { importCommand } from '../commands/import.ts';
import { info } from '../commands/info.ts';
import { inspect } from '../commands/inspect.ts';
import { kill } from '../commands/kill.ts';
import { load } from '../commands/load.ts';
import { login } from '../commands/login.ts';
import { logout } from '../commands/logout.ts';
import { logs } from '../commands/logs.ts';
import {
  networkConnect,
  networkCreate,
  networkDisconnect,
  networkDoctor,
  networkList,
  networkRemove,
} from '../commands/network.ts';
import {
  manifestAdd,
  manifestAnnotate,
  manifestCreate,
  manifestInspect,
  manifestPush,
  manifestRemove,
} from '../commands/manifest.ts';
import { pause } from '../commands/pause.ts';
import { pluginsInstall, pluginsLink, pluginsList, pluginsUninstall } from '../commands/plugins.ts';
import { containerPrune, imagePrune, networkPrune, systemPrune, volumePrune } from '../commands/prune.ts';
import { port, portAdd, portRemove } from '../commands/port.ts';
import { ps } from '../commands/ps.ts';
import { pull } from '../commands/pull.ts';
import { push } from '../commands/push.ts';
import { restart } from '../commands/restart.ts';
import { restore } from '../commands/restore.ts';
import { rm } from '../commands/rm.ts';
import { rmi } from '../commands/rmi.ts';
import { run } from '../commands/run.ts';
import { save } from '../commands/save.ts';
import { search } from '../commands/search.ts';
import { start } from '../commands/start.ts';
import { stats } from '../commands/stats.ts';
import { stop } from '../commands/stop.ts';
import { systemCheck, systemDf } from '../commands/system.ts';
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
  commit,
  containerPrune,
  copy,
  create,
  demo,
  diff,
  exec,
  exportCommand,
  history,
  imageDiff,
  imagePrune,
  images,
  imageTree,
  importCommand,
  info,
  inspect,
  kill,
  load,
  login,
  logout,
  logs,
  networkConnect,
  networkCreate,
  networkDisconnect,
  networkDoctor,
  networkList,
  networkPrune,
  networkRemove,
  manifestAdd,
  manifestAnnotate,
  manifestCreate,
  manifestInspect,
  manifestPush,
  manifestRemove,
  pause,
  pluginsInstall,
  pluginsLink,
  pluginsList,
  pluginsUninstall,
  port,
  portAdd,
  portRemove,
  ps,
  pull,
  push,
  restart,
  restore,
  rm,
  rmi,
  run,
  save,
  search,
  start,
  stats,
  stop,
  systemCheck,
  systemDf,
  systemPrune,
  tag,
  unpause,
  version,
  volumeCreate,
  volumeList,
  volumePrune,
  volumeRemove,
  wait,
];

const byName = new Map(commands.map((command) => [command.name, command]));

/** Docker's long forms, and the verbs they are. */
const longForms: ReadonlyMap<string, string> = new Map([
  ...'attach checkpoint commit create diff exec export inspect kill logs pause port ps restart restore rm run start stats stop unpause wait'
    .split(' ')
    .map((verb) => [`container ${verb}`, verb] as const),
  ...'copy history import inspect load pull push save tag'.split(' ').map((verb) => [`image ${verb}`, verb] as const),
  ['container ls', 'ps'],
  ['container list', 'ps'],
  ['container remove', 'rm'],
  ['image ls', 'images'],
  ['image list', 'images'],
  ['image rm', 'rmi'],
  ['image remove', 'rmi'],
  ['network inspect', 'inspect'],
  ['network list', 'network ls'],
  ['network remove', 'network rm'],
  ['system info', 'info'],
  ['volume inspect', 'inspect'],
  ['volume list', 'volume ls'],
  ['volume remove', 'volume rm'],
]);

/** What stands before verbs of its own. */
export const nouns: Readonly<Record<string, string>> = {
  container: 'Manage containers',
  image: 'Manage images',
  network: 'Manage networks',
  manifest: 'Manage image manifests and manifest lists',
  plugins: 'List and manage plugins',
  port: 'Manage published ports',
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
    const isNarrowed = command.name === 'inspect' && length === 2;
    return { command, rest: isNarrowed ? ['--type', words[0]!, ...rest] : rest };
  }
  return undefined;
}

/** The long forms of one verb. */
export function longFormsOf(name: string): string[] {
  return [...longForms].flatMap(([long, verb]) => (verb === name ? [long] : []));
}
