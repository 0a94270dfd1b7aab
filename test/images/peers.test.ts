// Images between kapsel and other programs, through a registry: what one pushes the other pulls, and both see the same tree.
// deadline: 400

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { scratch } from '../harness/engine.ts';
import { busyboxLayers, ociLayout } from '../harness/images.ts';
import { Docker } from '../managers/dockerd.ts';
import { Peers, registryHost, richLayout } from './peers.ts';

const t = suite('other programs');
let peers: Peers;
let layout: string;
/** What skopeo and umoci, which have nothing of ours, make of the image. */
let wanted: string[];

const at = (name: string): string => `${registryHost}/${name}`;
const plain = ['--src-tls-verify=false', '--dest-tls-verify=false'];
const own = ['--root', join(scratch, 'podman'), '--runroot', '/run/podman-test', '--tmpdir', '/run/podman-test/tmp'];
const podman = (...args: string[]): Promise<string> =>
  peers.machine.output('podman', [...own, '--events-backend', 'file', ...args]);

t.before(async () => {
  layout = await richLayout(scratch);
  peers = await Peers.make();
  await mkdir(join(scratch, 'podman'));
  wanted = await umociSees(layout, 'rich');
  assert.ok(wanted.length > 40);
});
t.after(async () => {
  await peers.close();
  for (const name of ['podman', 'docker', 'layout', 'bundle']) {
    await rm(join(scratch, name), { recursive: true, force: true });
  }
});

/** The root file system as umoci unpacks it. */
async function umociSees(directory: string, tag: string): Promise<string[]> {
  const bundle = join(scratch, 'bundle');
  await rm(bundle, { recursive: true, force: true });
  await peers.machine.output('umoci', ['unpack', '--image', `${directory}:${tag}`, bundle]);
  return await peers.look(join(bundle, 'rootfs'));
}

/** Podman gives the root of every image the mode of a layer that it makes itself. */
const below = (lines: string[]): string[] => lines.filter((line) => !line.includes('"path": "."'));

/** Line by line, so that a difference can be read. */
function same(seen: string[], expected: string[], whose: string): void {
  const differences = [
    ...expected.filter((line) => !seen.includes(line)).map((line) => `- ${line}`),
    ...seen.filter((line) => !expected.includes(line)).map((line) => `+ ${line}`),
  ];
  assert.is(differences.join('\n'), '', whose);
}

for (const [name, options] of [
  ['as OCI', []],
  ['as Docker’s schema 2', ['--format', 'v2s2']],
  ['packed with zstd', ['--dest-compress-format', 'zstd', '--dest-compress']],
] as const) {
  t(`skopeo pushes ${name}, kapsel pulls`, async () => {
    const reference = at(`skopeo:${name.replace(/\W+/g, '-')}`);
    await peers.skopeo('copy', ...plain, ...options, `oci:${layout}:rich`, `docker://${reference}`);
    assert.match(await peers.kapselOutput('pull', reference), /Status: Downloaded newer image|up to date/);
    same(await peers.lookAtKapsels(reference), wanted, 'kapsel');
    await peers.kapselOutput('rmi', reference);
  });
}

t('umoci makes a layer, kapsel pulls it', async () => {
  const [changed, bundle] = [join(scratch, 'changed'), join(scratch, 'bundle')];
  await peers.skopeo('copy', `oci:${layout}:rich`, `oci:${changed}:rich`);
  await umociSees(changed, 'rich');
  const change = `cd ${bundle}/rootfs && rm data/kept && echo new > data/new && chmod 600 owned && rm -r sub && ln -s x sub`;
  await peers.machine.output('sh', ['-ec', change]);
  await peers.machine.output('umoci', ['repack', '--image', `${changed}:next`, bundle]);
  await peers.skopeo('copy', ...plain, `oci:${changed}:next`, `docker://${at('umoci:1')}`);
  await peers.kapselOutput('pull', at('umoci:1'));
  same(await peers.lookAtKapsels(at('umoci:1')), await umociSees(changed, 'next'), 'kapsel');
  await rm(changed, { recursive: true });
});

t('podman commits and pushes, kapsel pulls', async () => {
  await peers.skopeo('copy', ...plain, `oci:${layout}:rich`, `docker://${at('rich:1')}`);
  await podman('pull', '--tls-verify=false', at('rich:1'));
  await podman('create', '--name', 'it', at('rich:1'), 'true');
  const root = await podman('mount', 'it');
  await peers.machine.output('sh', ['-ec', `cd ${root} && rm -r data sub/hard && echo new > new && chown 7:8 new`]);
  await podman('umount', 'it');
  await podman('commit', '--quiet', 'it', at('podman:1'));
  await podman('push', '--tls-verify=false', at('podman:1'));
  await peers.kapselOutput('pull', at('podman:1'));
  const image = await podman('image', 'mount', at('podman:1'));
  same(below(await peers.lookAtKapsels(at('podman:1'))), below(await peers.look(image)), 'kapsel');
  await podman('image', 'umount', at('podman:1'));
  await podman('rm', 'it');
});

t('docker commits and pushes, kapsel pulls', async () => {
  const docker = new Docker(peers.machine);
  await docker.start();
  try {
    await peers.skopeo('copy', ...plain, `oci:${layout}:rich`, `docker://${at('rich:1')}`);
    await docker.output('pull', '--quiet', at('rich:1'));
    await docker.output('create', '--name', 'it', at('rich:1'), 'true');
    await writeFile(join(scratch, 'new'), 'new');
    await docker.output('cp', join(scratch, 'new'), 'it:/data/new');
    await docker.output('commit', 'it', at('docker:1'));
    await docker.output('push', '--quiet', at('docker:1'));
    await peers.kapselOutput('pull', at('docker:1'));
    same(await peers.lookAtKapsels(at('docker:1')), await dockerSees(docker, at('docker:1')), 'kapsel');
    await docker.output('rm', 'it');
  } finally {
    await docker.stop();
  }
});

/** The layers of an image as Docker's overlay2 keeps them. */
async function dockerSees(docker: Docker, name: string): Promise<string[]> {
  const data = JSON.parse(await docker.output('image', 'inspect', '--format', '{{json .GraphDriver.Data}}', name)) as {
    UpperDir: string;
    LowerDir?: string;
  };
  return await peers.lookThrough([data.UpperDir, ...(data.LowerDir?.split(':') ?? [])]);
}

t('kapsel pushes, skopeo and umoci, podman and docker pull', async () => {
  const original = at('rich:1');
  await peers.skopeo('copy', ...plain, `oci:${layout}:rich`, `docker://${original}`);
  await peers.kapselOutput('pull', original);
  const docker = new Docker(peers.machine);
  await docker.start();
  try {
    for (const [name, flags] of [
      ['oci', ['--format', 'oci']],
      ['docker', ['--format', 'docker']],
      ['zstd', ['--format', 'oci', '--compression-format', 'zstd']],
    ] as const) {
      const reference = `${registryHost}/kapsel/${name}:1`;
      await peers.kapselOutput('tag', original, reference);
      assert.match(await peers.kapselOutput('push', ...flags, reference), /1: digest: sha256:[0-9a-f]{64} size: \d+/);
      const copied = join(scratch, 'copied');
      await peers.skopeo('copy', ...plain, `docker://${reference}`, `oci:${copied}:it`);
      // umoci 0.4 knows no zstd.
      if (name !== 'zstd') same(await umociSees(copied, 'it'), wanted, `umoci, ${name}`);
      await rm(copied, { recursive: true });
      await podman('pull', '--quiet', '--tls-verify=false', reference);
      same(below(await peers.look(await podman('image', 'mount', reference))), below(wanted), `podman, ${name}`);
      await podman('image', 'umount', reference);
      if (name === 'zstd') continue;
      await docker.output('pull', '--quiet', reference);
      same(await dockerSees(docker, reference), wanted, `docker, ${name}`);
    }
  } finally {
    await docker.stop();
  }
});

/** With a docker of its own that has the image, and a file for an archive. */
async function archiving(work: (docker: Docker, archive: string) => Promise<void>): Promise<void> {
  const archive = join(scratch, 'archive.tar');
  await peers.skopeo('copy', ...plain, `oci:${layout}:rich`, `docker://${at('rich:1')}`);
  const docker = new Docker(peers.machine);
  await docker.start();
  try {
    await work(docker, archive);
  } finally {
    await docker.stop();
    await rm(archive, { force: true });
  }
}

t('docker saves, kapsel loads', () =>
  archiving(async (docker, archive) => {
    // Docker cannot give back a layer that has GNU tar's holes: it makes one of its own, and one with whiteouts on it.
    await docker.output('pull', '--quiet', at('rich:1'));
    await docker.output('create', '--name', 'it', at('rich:1'), 'true');
    await docker.output('export', '--output', archive, 'it');
    await docker.output('import', archive, 'flat:1');
    await docker.output('rm', 'it');
    const image = { layers: await busyboxLayers(scratch), name: 'it' };
    const plainLayout = await ociLayout(join(scratch, 'plain'), [image]);
    await peers.skopeo('copy', ...plain, `oci:${plainLayout}:it`, `docker://${at('plain:1')}`);
    await docker.output('pull', '--quiet', at('plain:1'));
    // What others have alike is one file here, with two names: what is looked at has to be alone.
    await peers.kapselOutput('image', 'prune', '--all', '--force');
    for (const name of ['flat:1', at('plain:1')]) {
      await docker.output('save', '--output', archive, name);
      assert.is((await peers.kapselOutput('load', '-i', archive)).trim(), `Loaded image: ${name}`);
      same(await peers.lookAtKapsels(name), await dockerSees(docker, name), name);
      await peers.kapselOutput('rmi', name);
    }
    await rm(plainLayout, { recursive: true });
  }),
);

t('kapsel saves, docker and podman load', () =>
  archiving(async (docker, archive) => {
    await peers.kapselOutput('pull', at('rich:1'));
    for (const format of ['docker-archive', 'oci-archive']) {
      const name = `localhost/back:${format}`;
      await peers.kapselOutput('tag', at('rich:1'), name);
      await peers.kapselOutput('save', '--format', format, '--output', archive, name);
      await podman('load', '--quiet', '--input', archive);
      same(below(await peers.look(await podman('image', 'mount', name))), below(wanted), `podman, ${format}`);
      await podman('image', 'umount', name);
      // Debian's Docker reads no layouts.
      if (format === 'oci-archive') continue;
      assert.match(await docker.output('load', '--input', archive), new RegExp(`^Loaded image: ${name}$`, 'm'));
      same(await dockerSees(docker, name), wanted, `docker, ${format}`);
    }
  }),
);

t('kapsel’s config is what was pushed, and its history', async () => {
  const reference = at('rich:1');
  const theirs = JSON.parse(await peers.skopeo('inspect', '--config', '--tls-verify=false', `docker://${reference}`));
  await peers.kapselOutput('tag', reference, at('again:1'));
  await peers.kapselOutput('push', '--quiet', at('again:1'));
  const ours = JSON.parse(await peers.skopeo('inspect', '--config', '--tls-verify=false', `docker://${at('again:1')}`));
  assert.equal(ours, theirs);
  assert.ok((await readFile(join(layout, 'oci-layout'), 'utf8')).includes('1.0.0'));
});

t.run();
