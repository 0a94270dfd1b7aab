// Docker's three notations for mounts, `-v`, `--mount` and `--tmpfs`, as mount objects. Looks at no file.

import { posix } from 'node:path';

import { InvalidArgumentError } from '../../errors.ts';
import type { BindMount, Mount, TmpfsMount } from '../options.ts';
import { bytes } from './quantities.ts';

const propagations = new Set(['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave']);
/** Consistency of Docker Desktop, and SELinux labels, which no machine of ours has: accepted, without meaning. */
const meaningless = new Set(['consistent', 'cached', 'delegated', 'z', 'Z']);
const volumeName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

function invalid(message: string): InvalidArgumentError {
  return new InvalidArgumentError('MOUNT_INVALID', message);
}

/** `[SOURCE:]TARGET[:OPTIONS]` */
export function parseVolume(text: string): Mount {
  const parts = text.split(':');
  if (parts.length > 3 || parts.some((part) => part === '')) {
    throw invalid(`invalid volume specification: '${text}': give [SOURCE:]TARGET[:OPTIONS]`);
  }
  if (parts.length === 1) return { type: 'volume', target: containerPath(parts[0]!, text) };
  const [source, target, options = ''] = parts as [string, string, string?];
  const mount: Mount = source.startsWith('/')
    ? { type: 'bind', source: posix.normalize(source), target: containerPath(target, text), createSource: true }
    : { type: 'volume', source, target: containerPath(target, text) };
  for (const option of options.split(',').filter(Boolean)) applyVolumeOption(mount, option, text);
  return checkMount(mount, text);
}

function applyVolumeOption(mount: Mount, option: string, text: string): void {
  if (option === 'ro' || option === 'rw') {
    mount.readOnly = option === 'ro';
  } else if (mount.type === 'bind' && propagations.has(option)) {
    mount.propagation = option as NonNullable<BindMount['propagation']>;
  } else if (mount.type === 'volume' && option === 'nocopy') {
    mount.noCopy = true;
  } else if (!meaningless.has(option)) {
    throw invalid(`invalid volume specification: '${text}': unknown option ${option}`);
  }
}

/** `type=bind,source=/a,target=/b,readonly`: comma-separated, a field quoted as in CSV where it holds a comma. */
export function parseMount(text: string): Mount {
  const fields = new Map<string, string | true>();
  for (const field of commaSeparated(text)) {
    const equals = field.indexOf('=');
    const name = (equals < 0 ? field : field.slice(0, equals)).trim().toLowerCase();
    fields.set(aliases[name] ?? name, equals < 0 ? true : field.slice(equals + 1));
  }
  const take = (name: string): string | undefined => {
    const value = fields.get(name);
    fields.delete(name);
    if (value === true) throw invalid(`invalid field '${name}' must be a key=value pair in --mount ${text}`);
    return value;
  };
  const flag = (name: string): boolean | undefined => {
    const value = fields.get(name);
    fields.delete(name);
    if (value === undefined) return undefined;
    if (value === true || value === 'true' || value === '1') return true;
    if (value === 'false' || value === '0') return false;
    throw invalid(`invalid value for ${name}: ${value} in --mount ${text}: give true or false`);
  };

  const type = take('type') ?? 'volume';
  const target = take('target');
  if (target === undefined) throw invalid(`target is required in --mount ${text}`);
  take('consistency');
  const common = { target: containerPath(target, text), ...defined({ readOnly: flag('readonly') }) };
  let mount: Mount;
  if (type === 'bind') {
    const source = take('source');
    if (source === undefined) throw invalid(`source is required for a bind in --mount ${text}`);
    const propagation = take('bind-propagation') as BindMount['propagation'];
    if (propagation !== undefined && !propagations.has(propagation)) {
      throw invalid(`invalid propagation '${propagation}' in --mount ${text}`);
    }
    const recursive = take('bind-recursive');
    const nonRecursive = recursive === 'disabled' ? true : flag('bind-nonrecursive');
    mount = { type, source, ...common, ...defined({ propagation, nonRecursive }) };
  } else if (type === 'volume') {
    mount = { type, ...common, ...defined({ source: take('source') || undefined, noCopy: flag('volume-nocopy') }) };
    const driver = take('volume-driver');
    if (driver !== undefined && driver !== 'local') {
      throw invalid(`volume driver '${driver}' in --mount ${text} is not known: the one there is is local`);
    }
  } else if (type === 'tmpfs') {
    const size = take('tmpfs-size');
    const mode = take('tmpfs-mode');
    if (mode !== undefined && !/^[0-7]{1,5}$/.test(mode))
      throw invalid(`invalid tmpfs-mode ${mode} in --mount ${text}`);
    mount = {
      type,
      ...common,
      ...defined({
        size: size === undefined ? undefined : bytes(size, 'tmpfs-size'),
        mode: mode === undefined ? undefined : Number.parseInt(mode, 8),
      }),
    };
  } else {
    throw invalid(`invalid mount type '${type}' in --mount ${text}: known are bind, volume, tmpfs`);
  }
  for (const name of fields.keys()) throw invalid(`unexpected key '${name}' in --mount ${text}`);
  return checkMount(mount, text);
}

const aliases: Record<string, string> = { src: 'source', dst: 'target', destination: 'target', ro: 'readonly' };

/** `TARGET[:OPTIONS]`, where options are tmpfs's own and the mount's. */
export function parseTmpfs(text: string): TmpfsMount {
  const colon = text.indexOf(':');
  const mount: TmpfsMount = { type: 'tmpfs', target: containerPath(colon < 0 ? text : text.slice(0, colon), text) };
  const options: string[] = [];
  for (const option of colon < 0
    ? []
    : text
        .slice(colon + 1)
        .split(',')
        .filter(Boolean)) {
    const [, name, value] = /^(\w+)(?:=(.*))?$/.exec(option) ?? [];
    if (name === 'size' && value !== undefined && !value.endsWith('%')) mount.size = bytes(value, '--tmpfs size');
    else if (name === 'mode' && value !== undefined && /^[0-7]{1,5}$/.test(value))
      mount.mode = Number.parseInt(value, 8);
    else options.push(option);
  }
  if (options.length > 0) mount.options = options;
  return checkMount(mount, text) as TmpfsMount;
}

const tmpfsFlags = new Set(
  'ro rw exec noexec suid nosuid dev nodev sync async dirsync atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime'.split(
    ' ',
  ),
);
const tmpfsParameter =
  /^(size=\d+%|nr_blocks=\d+[kmg]?|nr_inodes=\d+[kmg]?|uid=\d+|gid=\d+|huge=(never|always|within_size|advise))$/i;

/** The rules every mount obeys, however it was written. Returns it with its paths made plain. */
export function checkMount<M extends Mount>(mount: M, text: string = mount.target): M {
  const target = containerPath(mount.target, text);
  if (mount.type === 'bind' && !mount.source.startsWith('/')) {
    throw invalid(`invalid mount '${text}': the source of a bind must be an absolute path: ${mount.source}`);
  }
  if (mount.type === 'volume' && mount.source !== undefined && !volumeName.test(mount.source)) {
    throw invalid(
      `'${mount.source}' includes invalid characters for a local volume name, only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed; for a host directory use an absolute path`,
    );
  }
  if (mount.type === 'tmpfs') {
    for (const option of mount.options ?? []) {
      if (!tmpfsFlags.has(option) && !tmpfsParameter.test(option)) {
        throw invalid(`invalid tmpfs option ${JSON.stringify(option)} in '${text}'`);
      }
    }
  }
  return { ...mount, target };
}

function containerPath(path: string, text: string): string {
  if (!path.startsWith('/')) {
    throw invalid(`invalid mount '${text}': the path in the container must be absolute: ${path}`);
  }
  // `..` is taken before it reaches the kernel; symbolic links of the image are the sandbox's to contain.
  const plain = posix.normalize(path).replace(/(?<=.)\/$/, '');
  if (plain === '/') throw invalid(`invalid mount '${text}': destination can't be '/'`);
  if (plain.includes('\0')) throw invalid(`invalid mount: a path cannot hold a NUL`);
  return plain;
}

export function commaSeparated(text: string): string[] {
  const fields = [...text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"(?=,|$)|([^,]*))/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '',
  );
  if (fields.some((field) => field === '')) throw invalid(`invalid --mount '${text}': an empty field`);
  return fields;
}

/** An object without the keys whose values are undefined. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
