// Images of several machines as they are typed: `pull --platform`, and the verbs of `manifest` from the first to the last.

import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, hostArchitecture, ociLayout } from '../harness/images.ts';
import { TestRegistry } from '../harness/registry.ts';
import { scratchDirectory } from '../images/store.ts';

const t = suite('cli manifest');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let registry: TestRegistry;
let test: TestEngine;

const here = hostArchitecture();
const other = here === 'riscv64' ? 'amd64' : 'riscv64';

t.before(async () => {
  scratch = await scratchDirectory('cli-manifest');
  registry = await TestRegistry.start();
  test = await testEngine();
  const image = { layers: await busyboxLayers(scratch.path), config: busyboxFacts.config, name: 'it' };
  for (const [name, architectures] of [
    ['both', [here, other]],
    ['own', [here]],
    ['other', [other]],
  ] as const) {
    const images = architectures.map((architecture) => ({ ...image, architecture }));
    const layout = await ociLayout(join(scratch.path, name), images);
    await registry.push(`oci:${layout}:it`, `${name}:1`, ['--all', '--preserve-digests']);
  }
});
t.after(async () => {
  await test.close();
  await registry.close();
  await scratch.remove();
});

/** Standard output of a command that works. */
const kapsel = (...args: string[]) => test.output(...args);
const at = (name: string) => `${registry.host}/${name}:1`;

/** The one line of a command that does not. */
async function refused(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await test.kapsel(args);
  assert.is.not(exitCode, 0);
  assert.is(stdout, '');
  // Off a terminal what is being done is told first.
  return stderr.trim().split('\n').at(-1)!;
}

t('pull --platform takes the image for that machine', async () => {
  const architecture = () => kapsel('image', 'inspect', '--format', '{{.Architecture}}', at('both'));
  await kapsel('pull', '-q', at('both'));
  assert.is(await architecture(), `${here}\n`);
  await kapsel('pull', '-q', '--platform', `linux/${other}`, at('both'));
  assert.is(await architecture(), `${other}\n`);
  assert.match(
    await refused('pull', '--platform', 'linux/s390x', at('both')),
    /^kapsel: no matching manifest for linux\/s390x/,
  );
  assert.match(await refused('pull', '--platform', 'nonsense/', at('both')), /^kapsel: invalid platform "nonsense\/"/);
});

t('copy --platform refuses what is for one machine alone', async () => {
  const target = `oci:${join(scratch.path, 'copied')}:x`;
  const words = new RegExp(`^kapsel: image with reference host:true was found but .*does not match linux/${other}$`);
  assert.match(await refused('copy', '--platform', `linux/${other}`, 'host:true', target), words);
});

t('manifest create, add, annotate, inspect, push and rm', async () => {
  const list = at('list');
  assert.is(await kapsel('manifest', 'create', list, at('own')), `Created manifest list ${list}\n`);
  assert.match(await refused('manifest', 'create', list, at('other')), /^kapsel: .*--amend/);
  assert.is(await kapsel('manifest', 'add', '--variant', 'v1', list, at('other')), `${list}\n`);
  await kapsel('manifest', 'annotate', '--os-version', '7', '--os-features', 'fast', list, at('other'));
  const platforms = async () => {
    const { manifests } = JSON.parse(await kapsel('manifest', 'inspect', list)) as {
      manifests: { platform: object }[];
    };
    return manifests.map(({ platform }) => platform);
  };
  const wanted = [
    { architecture: here, os: 'linux' },
    { architecture: other, os: 'linux', variant: 'v1', 'os.version': '7', 'os.features': ['fast'] },
  ];
  const byKey = (one: object) => Object.entries(one).sort();
  assert.equal((await platforms()).map(byKey), wanted.map(byKey));
  const digest = await kapsel('manifest', 'push', list);
  assert.match(digest, /^sha256:[0-9a-f]{64}\n$/);
  assert.is(await kapsel('manifest', 'rm', list), '');
  // From here on it is the registry's, which has the same.
  assert.equal((await platforms()).map(byKey), wanted.map(byKey));
  const details = JSON.parse(await kapsel('manifest', 'inspect', '--verbose', list)) as {
    Descriptor: { platform: object };
  }[];
  assert.equal(
    details.map(({ Descriptor }) => byKey(Descriptor.platform)),
    wanted.map(byKey),
  );
  assert.match(await refused('manifest', 'rm', list), /^kapsel: /);
  await kapsel('manifest', 'create', '--amend', list, at('own'));
  await kapsel('manifest', 'push', '--purge', list);
  assert.equal((await platforms()).length, 1);
  assert.match(await refused('manifest', 'push', list), /^kapsel: /);
});

t.run();
