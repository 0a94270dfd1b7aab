// `manifest create`, `add`, `annotate`, `push` against a registry: what skopeo and a pull then find under the name.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { busyboxFacts, busyboxLayers, hostArchitecture, ociLayout } from '../harness/images.ts';
import { skopeo, TestRegistry } from '../harness/registry.ts';
import { failure, TestStore } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const t = suite('manifests');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let registry: TestRegistry;
let store: TestStore;

t.before(async () => {
  scratch = await scratchDirectory('manifests');
  registry = await TestRegistry.start();
  const layers = await busyboxLayers(scratch.path);
  for (const architecture of [hostArchitecture(), 'riscv64']) {
    const layout = join(scratch.path, architecture);
    await ociLayout(layout, [{ layers, config: busyboxFacts.config, name: 'it', architecture }]);
    await registry.push(`oci:${layout}:it`, `parts/${architecture}:1`);
  }
});
t.after(async () => {
  await registry.close();
  await scratch.remove();
});
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(() => store.close());

const named = (name: string) => `${registry.host}/${name}`;
const own = () => named(`parts/${hostArchitecture()}:1`);
const other = () => named('parts/riscv64:1');
const raw = async (name: string) =>
  JSON.parse(await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${named(name)}`)) as {
    mediaType: string;
    manifests: { digest: string; platform: object }[];
  };

t('a list of images from other repositories brings them along', async () => {
  const lists = await store.images.manifests();
  assert.is(await lists.create(named('whole:1'), [own(), other()], false), named('whole:1'));
  const digest = await lists.push(named('whole:1'), {});
  const pushed = await raw('whole:1');
  assert.is(pushed.mediaType, 'application/vnd.oci.image.index.v1+json');
  assert.equal(
    pushed.manifests.map(({ platform }) => platform),
    [
      { os: 'linux', architecture: hostArchitecture() },
      { os: 'linux', architecture: 'riscv64' },
    ],
  );
  const pulled = await store.images.pull(named('whole:1'));
  assert.is(pulled.digest, digest);
  assert.equal(pulled.config.config, busyboxFacts.config);
  await skopeo('copy', '--all', '--src-tls-verify=false', `docker://${named('whole:1')}`, `dir:${scratch.path}/all`);
});

t('annotations say what a config left out', async () => {
  const lists = await store.images.manifests();
  await lists.create(named('annotated:1'), [own()], false);
  await lists.annotate(named('annotated:1'), own(), {
    architecture: 'arm',
    variant: 'v6',
    osVersion: '1',
    osFeatures: ['x'],
  });
  await lists.push(named('annotated:1'), { purge: true });
  assert.equal((await raw('annotated:1')).manifests[0]?.platform, {
    os: 'linux',
    architecture: 'arm',
    variant: 'v6',
    'os.version': '1',
    'os.features': ['x'],
  });
  assert.equal(readdirSync(join(store.root, 'manifests')), [], 'purged');
  await failure(lists.push(named('annotated:1'), {}), 'MANIFEST_NOT_FOUND');
});

t('what is there is not amended unasked, and what is not there cannot be changed', async () => {
  const lists = await store.images.manifests();
  const name = named('amended:1');
  await lists.create(name, [own()], false);
  await failure(lists.create(name, [other()], false), 'MANIFEST_EXISTS', /--amend/);
  await lists.create(name, [other()], true);
  await lists.add(name, other(), {});
  const document = await lists.inspect(name);
  assert.is(document.kind === 'index' && document.index.manifests.length, 2, 'the same manifest is there once');
  await failure(lists.annotate(name, named('parts/none:1'), { os: 'linux' }), 'MANIFEST_NOT_FOUND');
  await failure(lists.add(named('none:1'), own(), {}), 'MANIFEST_NOT_FOUND');
  await failure(lists.create(named('none:1'), [named('parts/none:1')], false), 'IMAGE_NOT_FOUND');
  lists.remove(name);
  await failure((async () => lists.remove(name))(), 'MANIFEST_NOT_FOUND');
});

t('a list in a list is opened, or refused', async () => {
  const lists = await store.images.manifests();
  await lists.create(named('inner:1'), [own(), other()], false);
  await lists.push(named('inner:1'), { purge: true });
  await failure(lists.create(named('outer:1'), [named('inner:1')], false), 'MANIFEST_INVALID', /list itself/);
  await lists.create(named('outer:1'), [], false);
  await lists.add(named('outer:1'), named('inner:1'), { all: true });
  const details = await lists.details(named('outer:1'));
  assert.equal(
    details.map(({ Descriptor }) => Descriptor.platform?.architecture),
    [hostArchitecture(), 'riscv64'],
  );
});

t.run();
