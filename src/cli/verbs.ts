// Which verbs there are. All descriptions are small and load together: a file more costs a hot verb more than their
// forty kilobytes. Docker's long forms (`container ls`, `image rm`) are the same verbs.
import { attach } from '../commands/attach.ts';
import { create } from '../commands/create.ts';
import { demo } from '../commands/demo.ts';
import { exec } from '../commands/exec.ts';
import { images } from '../commands/images.ts';
import { importCommand } from '../commands/import.ts';
import { info } from '../commands/info.ts';
import { inspect } from '../commands/inspect.ts';
import { kill } from '../commands/kill.ts';
import { load } from '../commands/load.ts';
import { logs } from '../commands/logs.ts';
import { pause } from '../commands/pause.ts';
import { pluginsInstall, pluginsLink, pluginsList, pluginsUninstall } from '../commands/plugins.ts';
import { ps } from '../commands/ps.ts';
import { pull } from '../commands/pull.ts';
import { restart } from '../commands/restart.ts';
import { rm } from '../commands/rm.ts';
import { rmi } from '../commands/rmi.ts';
import { run } from '../commands/run.ts';
import { start } from '../commands/start.ts';
import { stop } from '../commands/stop.ts';
import { unpause } from '../commands/unpause.ts';
import { version } from '../commands/version.ts';
import { volumeCreate, volumeList, volumeRemove } from '../commands/volume.ts';
import { wait } from '../commands/wait.ts';
import type { Command } from './command.ts';

/** Every description, in the order of their names. */
export const commands: readonly Command<any>[] = [
  attach,
  create,
  demo,
  exec,
  images,
  importCommand,
  info,
  inspect,
  kill,
  load,
  logs,
  pause,
  pluginsInstall,
  pluginsLink,
  pluginsList,
  pluginsUninstall,
  ps,
  pull,
  restart,
  rm,
  rmi,
  run,
  start,
  stop,
  unpause,
  version,
  volumeCreate,
  volumeList,
  volumeRemove,
  wait,
];

const byName = new Map(commands.map((command) => [command.name, command]));

const synonyms: Readonly<Record<string, string>> = {
  'container ls': 'ps',
  'container list': 'ps',
  'container remove': 'rm',
  'image ls': 'images',
  'image list': 'images',
  'image rm': 'rmi',
  'image remove': 'rmi',
  'system info': 'info',
  'volume list': 'volume ls',
  'volume remove': 'volume rm',
};

/** Verbs that Docker also knows behind these nouns. */
const nouns: Readonly<Record<string, readonly string[]>> = {
  container: 'attach create exec inspect kill logs pause ps restart rm run start stop unpause wait'.split(' '),
  image: 'import inspect load pull'.split(' '),
  volume: ['inspect'],
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
    const [noun = '', second = ''] = words;
    const name = synonyms[typed] ?? (length === 2 && nouns[noun]?.includes(second) === true ? second : typed);
    const command = byName.get(name);
    if (command) return { command, rest: words.slice(length) };
  }
  return undefined;
}

/** Whether there are verbs below this word: `kapsel volume` lists them. */
export function isNoun(word: string): boolean {
  return Object.hasOwn(nouns, word);
}
