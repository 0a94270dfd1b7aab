// `host:bash,ls`: an image of this machine's own programs. Which programs, whether an image made earlier still fits, and
// the config around them; finding libraries and packing them is the executable's.

import { accessSync, constants, lstatSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createHash, randomBytes } from 'node:crypto';
import { delimiter, dirname, join } from 'node:path';
import { InvalidArgumentError, NotFoundError } from '../errors.ts';
import { hostPlatform } from '../../registry/platform.ts';
import { type Composed, composeImage, composeLayer } from './compose.ts';
import type { Layers } from './layers.ts';
import { type HostSource, hostSources, unpackHost } from './worker.ts';

export const hostPrefix = 'host:';

/** What `host:` alone holds, as far as this machine has it: a shell, the coreutils one reaches for, and a look around. */
const usual = `
  bash sh ls cat cp mv rm mkdir rmdir ln touch chmod chown readlink echo printf env true false sleep
  date head tail wc sort uniq cut tr tee seq basename dirname realpath stat df du pwd id whoami groups
  uname nproc test expr yes tty stty dd od sha256sum base64 mktemp timeout xargs grep sed awk find
  diff tar gzip hostname mount umount ps top free kill pgrep ip ss ping unshare less which
`
  .trim()
  .split(/\s+/);

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Decides which file a library's name means. */
const loaderCache = '/etc/ld.so.cache';

/** What a cached answer rests on. */
interface Remembered {
  imageId: string;
  sources: HostSource[];
}

export class HostImages {
  readonly #cache: string;
  readonly #layers: Layers;
  readonly #path: string;

  constructor(root: string, layers: Layers, env: NodeJS.ProcessEnv = process.env) {
    this.#cache = join(root, 'cache', 'host');
    this.#layers = layers;
    // An ordinary user's PATH may lack the sbin directories.
    this.#path = [...new Set([...(env.PATH ?? '').split(delimiter), ...defaultPath.split(':')])]
      .filter(Boolean)
      .join(':');
  }

  /** The id of the image made earlier, if every file that it was made of is still the same. */
  current(reference: string): string | undefined {
    let remembered: Remembered;
    try {
      remembered = JSON.parse(readFileSync(this.#memory(reference), 'utf8')) as Remembered;
    } catch {
      return undefined;
    }
    return remembered.sources.every(isUnchanged) ? remembered.imageId : undefined;
  }

  async make(reference: string, signal?: AbortSignal): Promise<Composed> {
    const programs = this.#programs(reference);
    const sources = await hostSources(programs, this.#path);
    const layer = await composeLayer(this.#layers, (options) => unpackHost(programs, this.#path, options), signal);
    // The same files make the same image: its time is that of the newest of them.
    const newest = Math.max(0, ...sources.map(({ mtime }) => Number(mtime)));
    const image = composeImage(
      layer,
      hostPlatform(),
      {
        created: new Date(Math.floor(newest) * 1000).toISOString(),
        config: { Env: [`PATH=${this.#pathOf(sources)}`], Cmd: [programs[0]!], WorkingDir: '/' },
      },
      `host ${programs.join(' ')}`,
    );
    this.#remember(reference, { imageId: image.id, sources: [...sources, ...existing(loaderCache)] });
    return image;
  }

  #programs(reference: string): string[] {
    const named = reference.slice(hostPrefix.length).split(',');
    if (named.length === 1 && named[0] === '') {
      const found = usual.filter((program) => this.#has(program));
      if (found.length > 0) return found;
      throw new NotFoundError(
        'PROGRAM_NOT_FOUND',
        `none of the usual programs is in ${this.#path}: name some, host:PROGRAM,…`,
      );
    }
    const wrong = named.find((program) => !/^[A-Za-z0-9_.+@:/[-][^\s,\0]*$/.test(program) || program.startsWith('-'));
    if (wrong === undefined) return [...new Set(named)];
    throw new InvalidArgumentError(
      'REFERENCE_INVALID',
      `invalid reference format: ${JSON.stringify(reference)}: ${JSON.stringify(wrong)} is no program: write host:PROGRAM[,PROGRAM…]`,
    );
  }

  /** Where the image's programs are found: the usual directories, and those of this PATH that gave one. */
  #pathOf(sources: HostSource[]): string {
    const mine = new Set(this.#path.split(':'));
    const used = sources.map(({ path }) => dirname(path)).filter((directory) => mine.has(directory));
    return [...new Set([...defaultPath.split(':'), ...used])].join(':');
  }

  #has(program: string): boolean {
    return this.#path.split(':').some((directory) => {
      try {
        accessSync(join(directory, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  }

  #remember(reference: string, what: Remembered): void {
    mkdirSync(this.#cache, { recursive: true, mode: 0o700 });
    const path = this.#memory(reference);
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    writeFileSync(temporary, JSON.stringify(what));
    renameSync(temporary, path);
  }

  /** Another PATH may find other programs of the same names. */
  #memory(reference: string): string {
    return join(this.#cache, `${createHash('sha256').update(`${reference}\0${this.#path}`).digest('hex')}.json`);
  }
}

function isUnchanged({ path, size, mtime, inode }: HostSource): boolean {
  // A link of the image's own: nothing on this machine to compare it with.
  if (inode === 0) return true;
  const [now] = existing(path);
  return now !== undefined && now.size === size && now.mtime === mtime && now.inode === inode;
}

/** A file as `host --list` describes it; none where it does not exist. */
function existing(path: string): HostSource[] {
  const status = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (!status) return [];
  const seconds = status.mtimeNs / 1_000_000_000n;
  const nanoseconds = String(status.mtimeNs % 1_000_000_000n).padStart(9, '0');
  return [{ path, size: Number(status.size), mtime: `${seconds}.${nanoseconds}`, inode: Number(status.ino) }];
}
