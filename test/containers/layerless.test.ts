// An image may have no layers at all, as `FROM scratch` with nothing copied makes it.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testEngine, type TestEngine } from '../harness/engine.ts';

const t = suite('an image of no layers');
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
});
t.after(() => test.close());

/** An OCI archive with a config and a manifest that name no layer. */
function archive(): string {
  const layout = join(test.directory, 'layout');
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  const blob = (content: object) => {
    const bytes = JSON.stringify(content);
    const digest = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(layout, 'blobs/sha256', digest), bytes);
    return { digest: `sha256:${digest}`, size: bytes.length };
  };
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const config = blob({ architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: [] } });
  const type = 'application/vnd.oci.image';
  const manifest = blob({
    schemaVersion: 2,
    mediaType: `${type}.manifest.v1+json`,
    config: { mediaType: `${type}.config.v1+json`, ...config },
    layers: [],
  });
  const annotations = { 'org.opencontainers.image.ref.name': 'nothing:1' };
  const manifests = [{ mediaType: `${type}.manifest.v1+json`, ...manifest, annotations }];
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const file = join(test.directory, 'nothing.tar');
  execFileSync('tar', ['-C', layout, '-cf', file, '.']);
  return file;
}

t('is loaded and runs what is mounted into it', async () => {
  await test.engine.images.load(archive());
  const volumes = ['/bin', '/lib', '/lib64', '/usr'].filter(existsSync).map((path) => `${path}:${path}:ro`);
  const command = ['/bin/sh', '-c', 'echo made > /file; cat /file'];
  const { stdout } = await test.engine.containers.run('nothing:1', { command, volumes });
  assert.is(stdout, 'made\n');
});

t('has no program of its own', async () => {
  const error = await test.engine.containers.run('nothing:1', { command: ['/x'] }).catch((error: unknown) => error);
  assert.is((error as { exitCode: number }).exitCode, 127);
});

t.run();
