// The image commands as they are typed: Docker's columns, words and exit codes.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { tree } from '../harness/images.ts';
import { scratchDirectory } from '../images/store.ts';

const t = suite('cli images');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let test: TestEngine;
let id: string;

t.before(async () => {
  scratch = await scratchDirectory('cli-images');
  const tar = await tree(scratch.path, 'root', async (root) => mkdir(join(root, 'etc')));
  test = await testEngine();
  id = (await kapsel('import', '-m', 'of a tar', '-c', 'LABEL a=b', tar, 'one:1')).trim();
});
t.after(async () => {
  await test.close();
  await scratch.remove();
});

/** Standard output of a command that works. */
const kapsel = (...args: string[]) => test.output(...args);

/** The one line of a command that does not. */
async function refused(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await test.kapsel(args);
  assert.is(exitCode === 0, false);
  assert.is(stdout, '');
  return stderr;
}

t('images, by filters, in columns, as JSON, as a template', async () => {
  const short = id.slice(7, 19);
  assert.match(await kapsel('images'), new RegExp(`^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\none +1 +${short} `));
  assert.match(
    await kapsel('image', 'ls', '--digests'),
    /^REPOSITORY +TAG +DIGEST +IMAGE ID +CREATED +SIZE\none +1 +<none> /,
  );
  assert.is(await kapsel('images', '-q', '--no-trunc'), `${id}\n`);
  assert.is(await kapsel('images', '-f', 'label=a=b', '--format', '{{.Repository}} {{.Containers}}'), 'one N/A\n');
  const json = JSON.parse(await kapsel('images', '--format', 'json')) as Record<string, string>;
  assert.equal([json['ID'], json['Tag'], json['SharedSize']], [short, '1', 'N/A']);
  for (const filter of ['label=a=c', 'dangling=true', 'until=24h', 'since=one:1', 'before=one:1', 'reference=t*']) {
    assert.is(await kapsel('images', '-q', '-f', filter), '', filter);
  }
  assert.match(await refused('images', '-f', 'dangling=perhaps'), /^kapsel: invalid filter 'dangling=perhaps': .*\n$/);
  assert.match(await refused('images', '-f', 'until=yesterday'), /^kapsel: invalid filter 'until=yesterday': .*\n$/);
  assert.match(await refused('images', '-f', 'size=1'), /^kapsel: invalid filter 'size': known are before, .*\n$/);
});

t('history', async () => {
  const columns = /^IMAGE +CREATED +CREATED BY +SIZE +COMMENT\n[0-9a-f]{12} +.* ago +import +\S+ +of a tar\n$/;
  assert.match(await kapsel('history', 'one:1'), columns);
  assert.match(
    await kapsel('history', '-H=false', 'one:1'),
    /CREATED AT.*\n[0-9a-f]{12} +\d{4}-\d\d-\d\dT\S+ +import +\d+ +of a tar\n$/,
  );
  assert.is(await kapsel('history', '-q', '--no-trunc', 'one:1'), `${id}\n`);
  assert.is(await kapsel('image', 'history', '--format', '{{.Comment}}', 'one:1'), 'of a tar\n');
});

t('tag and rmi, several at a time', async () => {
  assert.is(await kapsel('tag', 'one:1', 'two:2'), '');
  assert.is(await kapsel('rmi', 'two:2'), 'Untagged: two:2\n');
  await kapsel('tag', id.slice(7, 15), 'three:3');
  const { exitCode, stdout, stderr } = await test.kapsel(['rmi', 'none:1', 'three:3']);
  assert.equal([exitCode, stdout, stderr], [1, 'Untagged: three:3\n', 'kapsel: No such image: none:1\n']);
  const forced = await test.kapsel(['rmi', '-f', 'none:1']);
  assert.equal([forced.exitCode, forced.stderr], [0, 'kapsel: No such image: none:1\n']);
  assert.match(await refused('tag', 'one:1', 'One'), /^kapsel: invalid reference format: "One": .*lower case\n$/);
});

t('inspect with the type of a noun', async () => {
  const [image] = JSON.parse(await kapsel('image', 'inspect', 'one:1')) as [{ Id: string; RootFS: object }];
  assert.is(image.Id, id);
  assert.is(
    await kapsel('inspect', '--type', 'image', '-f', '{{.RootFS.Type}} {{.Metadata.LastTagTime}}', 'one:1').then(
      (text) => text.split(' ')[0],
    ),
    'layers',
  );
  assert.match(await refused('manifest', 'inspect', '127.0.0.1:1/none:1'), /^kapsel: .*\n$/);
});

t('copy says the digest, to whom it is told', async () => {
  const place = join(scratch.path, 'copied');
  const digest = (
    await kapsel('copy', '-q', '--digestfile', join(scratch.path, 'digest'), 'one:1', `oci:${place}:x`)
  ).trim();
  assert.is(digest, '');
  assert.match(await kapsel('copy', `oci:${place}:x`, `dir:${place}-2`), /^sha256:[0-9a-f]{64}\n$/);
  assert.match(
    await refused('copy', 'docker-daemon:x', 'dir:/nowhere'),
    /^kapsel: invalid image name .*known are docker:\/\/.*\n$/,
  );
});

t('save does not write to a terminal, nor a directory to a pipe', async () => {
  assert.match(
    await refused('save', '--format', 'oci-dir', 'one:1'),
    /^kapsel: oci-dir is a directory: give -o DIRECTORY\n$/,
  );
  assert.match(await refused('save', '--format', 'zip', 'one:1'), /unknown format zip: known are docker-archive, /);
  const { stdout } = await test.kapsel(['save', 'one:1']);
  assert.ok(stdout.includes('manifest.json'));
});

t.run();
