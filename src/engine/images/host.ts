// `host:bash,ls`: an image of this machine's own programs. Which programs, and the config around them; finding their
// libraries and packing them is the executable's.

import { dirname } from 'node:path';
import { InvalidArgumentError, NotFoundError } from '../errors.ts';
import { isInPath } from '../programs.ts';
import { hostPlatform } from '../../registry/platform.ts';
import { type Composed, composeImage, composeLayer } from './compose.ts';
import { hostPrefix, remember, searchPath, usualPath } from './host-memory.ts';
import type { Layers } from './layers.ts';
import { type HostSource, hostSources, unpackHost } from './worker.ts';

/** What `host:` alone holds, as far as this machine has it: a shell, the coreutils one reaches for, and a look around. */
const usual = `
  bash sh ls cat cp mv rm mkdir rmdir ln touch chmod chown readlink echo printf env true false sleep
  date head tail wc sort uniq cut tr tee seq basename dirname realpath stat df du pwd id whoami groups
  uname nproc test expr yes tty stty dd od sha256sum base64 mktemp timeout xargs grep sed awk find
  diff tar gzip hostname mount umount ps top free kill pgrep ip ss ping unshare less which
`
  .trim()
  .split(/\s+/);

export async function makeHostImage(
  root: string,
  layers: Layers,
  reference: string,
  signal?: AbortSignal,
): Promise<Composed> {
  const path = searchPath();
  const programs = programsOf(reference, path);
  const sources = await hostSources(programs, path);
  const layer = await composeLayer(layers, (options) => unpackHost(programs, path, options), signal);
  // The same files make the same image: its time is that of the newest of them.
  const newest = Math.max(0, ...sources.map(({ mtime }) => Number(mtime)));
  const image = composeImage(
    layer,
    hostPlatform(),
    {
      created: new Date(Math.floor(newest) * 1000).toISOString(),
      config: { Env: [`PATH=${pathInside(sources, path)}`], Cmd: [programs[0]!], WorkingDir: '/' },
    },
    `host ${programs.join(' ')}`,
  );
  remember(root, reference, image.id, sources);
  return image;
}

function programsOf(reference: string, path: string): string[] {
  const named = reference.slice(hostPrefix.length).split(',');
  if (named.length === 1 && named[0] === '') {
    const found = usual.filter((program) => isInPath(path, program));
    if (found.length > 0) return found;
    throw new NotFoundError(
      'HOST_PROGRAM_NOT_FOUND',
      `none of the usual programs is in ${path}: name some, host:PROGRAM,…`,
    );
  }
  const wrong = named.find((program) => !/^[A-Za-z0-9_.+@:/[][^\s,\0]*$/.test(program));
  if (wrong === undefined) return [...new Set(named)];
  throw new InvalidArgumentError(
    'REFERENCE_INVALID',
    `invalid reference format: ${JSON.stringify(reference)}: ${JSON.stringify(wrong)} is no program: write host:PROGRAM[,PROGRAM…]`,
    { exitCode: 1 },
  );
}

/** Where the image's programs are found: the usual directories, and those of this PATH that gave one. */
function pathInside(sources: HostSource[], path: string): string {
  const mine = new Set(path.split(':'));
  const used = sources.map((source) => dirname(source.path)).filter((directory) => mine.has(directory));
  return [...new Set([...usualPath.split(':'), ...used])].join(':');
}
