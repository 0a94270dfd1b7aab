// Images made by the tests from Debian's packages: a busybox of several layers, and a Debian 12 root.
// Put together with GNU tar, gzip and zstd, converted by skopeo: nothing here comes from the project's own code.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** `docker save` of the same keeps no compression: every source layer is plain tar, and the layout says how it is packed. */
export type Compression = 'none' | 'gzip' | 'zstd';

export interface LayoutImage {
  /** Paths of plain tars, lowest first. */
  layers: string[];
  compression?: Compression;
  architecture?: string;
  variant?: string;
  config?: Record<string, unknown>;
  /** What skopeo calls it: `oci:DIR:NAME`. */
  name?: string;
}

const suffix: Record<Compression, string> = { none: '', gzip: '+gzip', zstd: '+zstd' };
const packer: Record<Compression, string[]> = { none: ['cat'], gzip: ['gzip', '-n', '-1'], zstd: ['zstd', '-q', '-1'] };

/** What is expected of the busybox image once its layers lie on each other. */
export const busyboxFacts = {
  config: {
    Cmd: ['sh'],
    Env: ['PATH=/bin', 'GREETING=hello'],
    WorkingDir: '/data',
    Labels: { 'org.example.made-by': 'the tests' },
  },
  layers: 3,
};

/** Three tars: busybox and its links; files; whiteouts of some of them. */
export async function busyboxLayers(directory: string): Promise<string[]> {
  const applets = [
    'sh',
    'ls',
    'cat',
    'echo',
    'id',
    'hostname',
    'ps',
    'sleep',
    'true',
    'false',
    'env',
    'mount',
    'ip',
    'kill',
  ];
  const base = await tree(directory, 'base', async (root) => {
    for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root']) await mkdir(join(root, name));
    await copyFile('/bin/busybox', join(root, 'bin/busybox'));
    await chmod(join(root, 'bin/busybox'), 0o755);
    for (const name of applets) await symlink('busybox', join(root, 'bin', name));
    await chmod(join(root, 'tmp'), 0o1777);
    await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n');
    await writeFile(join(root, 'etc/group'), 'root:x:0:\nuser:x:1000:\n');
  });
  const files = await tree(directory, 'files', async (root) => {
    await mkdir(join(root, 'data/opaque'), { recursive: true });
    await writeFile(join(root, 'data/kept'), 'kept\n');
    await writeFile(join(root, 'data/removed'), 'removed\n');
    await writeFile(join(root, 'data/opaque/below'), 'below\n');
  });
  const changes = await tree(directory, 'changes', async (root) => {
    await mkdir(join(root, 'data/opaque'), { recursive: true });
    await writeFile(join(root, 'data/.wh.removed'), '');
    await writeFile(join(root, 'data/opaque/.wh..wh..opq'), '');
    await writeFile(join(root, 'data/opaque/above'), 'above\n');
  });
  return [base, files, changes];
}

/** A tar of what `fill` puts into a directory, owned by root, without times. */
export async function tree(directory: string, name: string, fill: (root: string) => Promise<void>): Promise<string> {
  const root = join(directory, name);
  await mkdir(root, { recursive: true });
  await fill(root);
  const tar = join(directory, `${name}.tar`);
  await execute('tar', [
    '--create',
    '--file',
    tar,
    '--sort=name',
    '--mtime=@0',
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '-C',
    root,
    '.',
  ]);
  await rm(root, { recursive: true, force: true });
  return tar;
}

/** Debian 12: a plain tar. */
export function debianTar(): Promise<string> {
  return bookwormTar('debian-12', ['--variant=minbase']);
}

/** Debian's nginx and the libraries that it needs, and nothing else: a plain tar. */
export function nginxTar(): Promise<string> {
  return bookwormTar('nginx', ['--variant=extract', '--include=nginx']);
}

/** By mmdebstrap, made once for all test runs. */
async function bookwormTar(name: string, options: string[]): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'kapsel-test');
  const path = join(cache, `${name}.tar`);
  if (existsSync(path)) return path;
  await mkdir(cache, { recursive: true });
  const working = await mkdtemp(join(tmpdir(), 'kapsel-test-debian-'));
  try {
    const made = join(working, `${name}.tar`);
    const mode = process.getuid?.() === 0 ? 'root' : 'unshare';
    await execute('mmdebstrap', ['--quiet', `--mode=${mode}`, ...options, 'bookworm', made], {
      env: { ...process.env, SOURCE_DATE_EPOCH: '1700000000', TMPDIR: working },
    });
    // Two test files may make it at once: the name appears whole.
    const complete = `${path}.${process.pid}`;
    await copyFile(made, complete);
    await rename(complete, path);
  } finally {
    await rm(working, { recursive: true, force: true });
  }
  return path;
}

/** An OCI layout directory with these images; of several, one index over all of them carries the name. */
export async function ociLayout(directory: string, images: LayoutImage[]): Promise<string> {
  await mkdir(join(directory, 'blobs', 'sha256'), { recursive: true });
  const manifests = [];
  for (const image of images) manifests.push(await addImage(directory, image));
  const named = images.find(({ name }) => name !== undefined)?.name;
  const annotate = (descriptor: object) => ({
    ...descriptor,
    ...(named !== undefined && { annotations: { 'org.opencontainers.image.ref.name': named } }),
  });
  let entries: object[] = manifests.map(annotate);
  if (images.length > 1) {
    const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests };
    entries = [
      annotate({ mediaType: index.mediaType, ...(await addBlob(directory, Buffer.from(JSON.stringify(index)))) }),
    ];
  }
  await writeFile(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: entries }));
  await writeFile(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return directory;
}

async function addImage(directory: string, image: LayoutImage): Promise<object> {
  const { layers, compression = 'gzip', architecture = hostArchitecture(), variant, config = {} } = image;
  const descriptors = [];
  const diffIds = [];
  for (const tar of layers) {
    diffIds.push(await fileDigest(tar));
    const packed = join(directory, 'packed');
    await execute('sh', ['-c', `${packer[compression].join(' ')} < "$0" > "$1"`, tar, packed]);
    const digest = await fileDigest(packed);
    const { size } = await stat(packed);
    await rename(packed, join(directory, 'blobs', ...digest.split(':')));
    descriptors.push({ mediaType: `application/vnd.oci.image.layer.v1.tar${suffix[compression]}`, digest, size });
  }
  const document = {
    created: '2024-01-02T03:04:05Z',
    architecture,
    ...(variant !== undefined && { variant }),
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: layers.map(() => ({ created: '2024-01-02T03:04:05Z', created_by: 'the tests' })),
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      ...(await addBlob(directory, Buffer.from(JSON.stringify(document)))),
    },
    layers: descriptors,
  };
  return {
    mediaType: manifest.mediaType,
    ...(await addBlob(directory, Buffer.from(JSON.stringify(manifest)))),
    platform: { os: 'linux', architecture, ...(variant !== undefined && { variant }) },
  };
}

/** Puts bytes into the layout and says what they are. */
export async function addBlob(directory: string, bytes: Buffer): Promise<{ digest: string; size: number }> {
  const hex = createHash('sha256').update(bytes).digest('hex');
  await writeFile(join(directory, 'blobs', 'sha256', hex), bytes);
  return { digest: `sha256:${hex}`, size: bytes.length };
}

async function fileDigest(path: string): Promise<string> {
  return `sha256:${createHash('sha256')
    .update(await readFile(path))
    .digest('hex')}`;
}

export function hostArchitecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}
