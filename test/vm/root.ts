// The virtual machine's Debian: its kernel and a root file system, made from the machine's own apt sources once for all runs.

import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** What the tests call, and what they are compared with. */
const packages = [
  'apparmor',
  'busybox-static',
  'crun',
  'dbus',
  'e2fsprogs',
  'iproute2',
  'kmod',
  'libcap2-bin',
  'procps',
  'systemd-sysv',
  'uidmap',
];

export interface Root {
  /** A bzImage. */
  kernel: string;
  /** An ext4 file system. */
  image: string;
}

/** Runs a command; what it says is shown only where it fails. */
export async function command(program: string, args: string[], options: { cwd?: string; env?: object } = {}) {
  const child = spawn(program, args, {
    ...options,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status === 0) return output;
  throw new Error(`${program} ${args.join(' ')} failed (${status}):\n${errors.slice(-4000)}`);
}

/** An ext4 image of the tree, with that many spare megabytes. */
export async function fileSystem(image: string, tree: string, spare: number): Promise<void> {
  const used = Number((await command('du', ['-s', '--block-size=1M', tree])).split('\t')[0]);
  // Neither checksums nor tables written in advance: the machine's writes are thrown away. A journal all the same: without
  // one, an inode is not used anew for five seconds, and each new file looks at all that have been removed.
  const extended = 'lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0';
  const options = ['-q', '-F', '-t', 'ext4', '-O', '^metadata_csum', '-J', 'size=16', '-E', extended];
  await command('mke2fs', [...options, '-d', tree, image, `${Math.ceil(used * 1.1) + spare}M`]);
}

/** The deb lines of this machine's own Debian release, without components other than main. */
async function sources(): Promise<{ suite: string; lines: string[] }> {
  const release = Object.fromEntries(
    (await readFile('/etc/os-release', 'utf8'))
      .split('\n')
      .map((line) => line.split('='))
      .map(([name, value]) => [name, value?.replaceAll('"', '')]),
  );
  const suite = release.VERSION_CODENAME;
  // The test programs are linked with this machine's C library: an older root would not run them.
  if (release.ID !== 'debian' || !suite)
    throw new Error(
      `this is ${release.ID ?? 'an unknown system'}: the virtual machine is made from a Debian's own apt sources`,
    );
  const format = '$(REPO_URI) $(RELEASE) $(COMPONENT)';
  const { stdout } = await execute('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, name, component]) => component === 'main' && (name === suite || name?.startsWith(`${suite}-`)))
    .map((words) => `deb ${words.join(' ')}`);
  return { suite, lines };
}

/** Downloads into the root; mmdebstrap's own apt configuration is in the environment. */
const downloadKernel = `
  name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \\(linux-image-[^ ]*\\)$/\\1/p')
  cd "$1/boot" && apt-get download -qq "$name"`;

async function make(directory: string): Promise<void> {
  const tree = join(directory, 'tree');
  const { suite, lines } = await sources();
  const options = ['--quiet', '--mode=root', '--variant=minbase', `--include=${packages.join(',')}`];
  const debian = [...options, `--customize-hook=${downloadKernel}`, suite, tree, ...lines];
  await command('mmdebstrap', debian, { env: { TMPDIR: directory } });
  const boot = join(tree, 'boot');
  const unpack = 'set -- "$1"/*.deb "$2"; dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink';
  await command('sh', ['-ec', unpack, 'sh', boot, tree]);
  const kernel = (await readdir(boot)).find((name) => name.startsWith('vmlinuz-'));
  if (!kernel) throw new Error('linux-image-cloud-amd64 brought no kernel');
  await command('chroot', [tree, 'depmod', kernel.replace('vmlinuz-', '')]);
  await rename(join(boot, kernel), join(directory, 'kernel'));
  for (const path of [
    'boot',
    'usr/share/doc',
    'usr/share/man',
    'usr/share/locale',
    'var/cache/apt',
    'var/lib/apt/lists',
  ])
    await rm(join(tree, path), { recursive: true, force: true });
  await writeFile(join(tree, 'etc/hosts'), '127.0.0.1 localhost\n');
  await mkdir(join(tree, 'kapsel'));
  await fileSystem(join(directory, 'image'), tree, 512);
  await rm(tree, { recursive: true });
}

/** The kernel and the root; the first time takes a minute or two. */
export async function debianRoot(): Promise<Root> {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'kapsel-test');
  const recipe = createHash('sha256')
    .update(await readFile(new URL(import.meta.url)))
    .digest('hex');
  const made = join(cache, `vm-${recipe.slice(0, 12)}`);
  if (!existsSync(made)) {
    await mkdir(cache, { recursive: true });
    const working = await mkdtemp(join(tmpdir(), 'kapsel-test-vm-'));
    try {
      await make(working);
      for (const name of await readdir(cache)) {
        if (name.startsWith('vm-')) await rm(join(cache, name), { recursive: true, force: true });
      }
      // Appears whole, also where the cache is on another file system.
      const complete = `${made}.${process.pid}`;
      await mkdir(complete);
      for (const name of ['kernel', 'image'])
        await command('cp', ['--sparse=always', join(working, name), join(complete, name)]);
      await rename(complete, made);
    } finally {
      await rm(working, { recursive: true, force: true });
    }
  }
  return { kernel: join(made, 'kernel'), image: join(made, 'image') };
}
