// The image that the managers run: the busybox of the tests, in the one format that all of them load.

import { join } from 'node:path';
import { run, scratch } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';

/** Its name for every manager. */
export const busybox = 'docker.io/library/box:1';

/** Makes an archive as `docker save` writes it. */
export async function busyboxArchive(): Promise<string> {
  const layout = await ociLayout(join(scratch, 'layout'), [
    { layers: await busyboxLayers(scratch), config: busyboxFacts.config, name: 'box' },
  ]);
  const archive = join(scratch, 'box.tar');
  const { exitCode, stderr } = await run('skopeo', [
    '--insecure-policy',
    'copy',
    `oci:${layout}:box`,
    `docker-archive:${archive}:${busybox}`,
  ]);
  if (exitCode !== 0) throw new Error(`skopeo could not make ${archive}: ${stderr}`);
  return archive;
}
