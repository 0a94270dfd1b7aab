// What the engine itself takes for what should not depend on how large an image is, or how many layers it has.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine } from '../src/index.ts';
import { ociLayout, tree } from '../test/harness/images.ts';

interface Roots {
  root: string;
  runRoot: string;
}

const rounds = 21;

/** Milliseconds of each `create` of a container over a hundred layers. */
export async function creations({ directory, root, runRoot }: Roots & { directory: string }): Promise<number[]> {
  const layers: string[] = [];
  for (let index = 0; index < 100; index++) {
    layers.push(
      await tree(directory, `layer${index}`, async (top) => {
        mkdirSync(join(top, 'etc'));
        writeFileSync(join(top, 'etc', `file${index}`), String(index));
      }),
    );
  }
  const layout = await ociLayout(join(directory, 'hundred'), [{ layers, name: 'it', config: { Cmd: ['/etc/file1'] } }]);
  await using engine = new Engine({ root, runRoot });
  await engine.images.copy(`oci:${layout}:it`, 'hundred:1');
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    const container = await engine.containers.create('hundred:1');
    times.push(performance.now() - start);
    await container.remove();
  }
  return times;
}

/** Milliseconds of each pull of an image that is all there, by a program that has pulled before. */
export async function warmPulls(image: string, roots: Roots): Promise<number[]> {
  await using engine = new Engine(roots);
  await engine.images.pull(image);
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await engine.images.pull(image);
    times.push(performance.now() - start);
  }
  return times;
}

/** Milliseconds of each `diff` and each `commit` of a container that has changed one file. */
export async function changes(image: string, roots: Roots): Promise<{ diffs: number[]; commits: number[] }> {
  await using engine = new Engine(roots);
  const container = await engine.containers.create(image, { command: ['true'] });
  const upper = join(roots.root, 'containers', container.id, 'upper');
  mkdirSync(join(upper, 'etc'), { recursive: true });
  const [diffs, commits]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    writeFileSync(join(upper, 'etc', 'changed'), `in round ${round}\n`);
    const start = performance.now();
    await container.diff();
    const between = performance.now();
    const id = await container.commit();
    diffs.push(between - start);
    commits.push(performance.now() - between);
    await engine.images.remove(id);
  }
  await container.remove();
  return { diffs, commits };
}
