// deadline: 180
// Images by the command line: what is shown of a transfer, on a terminal and off it, and what of its failures.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { TestRegistry } from '../harness/registry.ts';
import { Pty } from './pty.ts';

const cli = `"${process.execPath}" "${new URL('../../dist/kapsel.js', import.meta.url).pathname}"`;
const directory = mkdtempSync(join(tmpdir(), 'kapsel-test-pull-'));

const t = suite('cli pull');
let engine: TestEngine;
let registry: TestRegistry;
let image: string;
let layers: string[];
let layout: string;

t.before(async () => {
  engine = await testEngine();
  registry = await TestRegistry.start();
  layers = await busyboxLayers(directory);
  layout = await ociLayout(join(directory, 'layout'), [
    { layers, compression: 'gzip', config: busyboxFacts.config, name: 'busybox' },
  ]);
  await registry.push(`oci:${layout}:busybox`, 'busybox:1', ['--preserve-digests']);
  image = `${registry.host}/busybox:1`;
});
t.after(async () => {
  await engine.close();
  await registry.close();
  rmSync(directory, { recursive: true, force: true });
});

const kapsel = (...args: string[]) => engine.kapsel(args);

t('pull off a terminal: plain lines on stderr, the result on stdout', async () => {
  const first = await kapsel('pull', image);
  assert.is(first.exitCode, 0, first.stderr);
  assert.match(
    first.stdout,
    new RegExp(`^Digest: sha256:[0-9a-f]{64}\nStatus: Downloaded newer image for ${image}\n${image}\n$`),
  );
  assert.match(first.stderr, new RegExp(`^Pulling ${image}\n`));
  assert.is(first.stderr.match(/^[0-9a-f]{12}: Pull complete$/gm)?.length, layers.length);
  assert.not.ok(first.stderr.includes('\u001b') || first.stderr.includes('\r'));
  const again = await kapsel('pull', image);
  assert.match(again.stdout, /\nStatus: Image is up to date for /);
  assert.is((await kapsel('pull', '-q', image)).stderr, '');
  assert.is((await kapsel('pull', '-q', image)).stdout, `${image}\n`);
  await kapsel('rmi', image);
});

t('pull on a terminal: a line a layer, which moves; nothing of it in a redirected stdout', async () => {
  const output = join(directory, 'output');
  const terminal = await Pty.open(`${cli} pull ${image} > ${output}; echo "code:$?"; cat ${output}`, engine.env);
  await terminal.shows(/code:0\r/m);
  await terminal.shows(/^Status: Downloaded newer image/m);
  assert.match(stripVTControlCharacters(terminal.output), /✔ Pulling /);
  assert.match(terminal.output, /[0-9a-f]{12} Pull complete/);
  assert.ok(terminal.output.includes('\u001b['));
  assert.match(terminal.output, new RegExp(`Digest: sha256:[0-9a-f]{64}\r\nStatus: .*\r\n${image}\r\n`));
  await terminal.exited;
  await kapsel('rmi', image);
});

t('run pulls what is missing, says so on stderr, and the program’s output stays its own', async () => {
  const { stdout, stderr, exitCode } = await kapsel('run', '--rm', image, '/bin/busybox', 'echo', 'hello');
  assert.is(exitCode, 0, stderr);
  assert.is(stdout, 'hello\n');
  assert.match(stderr, /^Pulling .*\n[0-9a-f]{12}: /);
  assert.is((await kapsel('run', '--rm', '-q', image, '/bin/busybox', 'true')).stderr, '');
  await kapsel('rmi', image);
});

t('a name the registry does not have, one nobody can read, a registry that is down: a line each', async () => {
  const line = /^(Pulling .*\n)?kapsel: [^\n]+\n$/;
  for (const [name, about] of [
    [`${registry.host}/nothing:1`, /nothing/],
    ['UPPER', /UPPER/],
    ['127.0.0.1:9/debian', /127\.0\.0\.1:9/],
  ] as const) {
    const pulled = await kapsel('pull', name);
    assert.is(pulled.exitCode, 1, `${name}: ${pulled.stderr}`);
    assert.match(pulled.stderr, line, name);
    assert.match(pulled.stderr, about, name);
    const run = await kapsel('run', '--rm', name, 'true');
    assert.is(run.exitCode, 125, name);
    assert.match(run.stderr, line, name);
  }
});

t('load: from a file and from standard input, each image named', async () => {
  const { skopeo } = await import('../harness/registry.ts');
  const archive = join(directory, 'docker.tar');
  await skopeo('copy', `oci:${layout}:busybox`, `docker-archive:${archive}:local/busybox:2`);
  const loaded = await kapsel('load', '-i', archive);
  assert.is(loaded.exitCode, 0, loaded.stderr);
  assert.is(loaded.stdout, 'Loaded image: local/busybox:2\n');
  await kapsel('rmi', 'local/busybox:2');
  const { readFileSync } = await import('node:fs');
  const piped = await engine.kapsel(['load', '-q'], { input: readFileSync(archive) });
  assert.is(piped.stdout, 'Loaded image: local/busybox:2\n');
  assert.is(piped.stderr, '');
  assert.match((await kapsel('images')).stdout, /^local\/busybox +2 /m);
  await kapsel('rmi', 'local/busybox:2');
  const broken = await engine.kapsel(['load'], { input: 'this is no archive' });
  assert.is(broken.exitCode, 1);
  assert.match(broken.stderr, /^(Loading standard input\n)?kapsel: [^\n]+\n$/);
  assert.match((await kapsel('load', '-i', '/nowhere')).stderr, /^kapsel: [^\n]*\/nowhere[^\n]*\n$/);
});

t('import: a tar becomes an image that runs', async () => {
  const made = await kapsel('import', '-c', 'CMD ["/bin/busybox","echo","made"]', layers[0]!, 'made:1');
  assert.match(made.stdout, /^sha256:[0-9a-f]{64}\n$/, made.stderr);
  assert.is((await kapsel('run', '--rm', 'made:1')).stdout, 'made\n');
  assert.match((await kapsel('import', 'https://example.org/root.tar')).stderr, /curl -fsSL .* \| kapsel import -/);
});

t('ctrl-c during a pull: 130, and the same for a pull that run does', async () => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const name = `127.0.0.1:${(silent.address() as { port: number }).port}/silent`;
  for (const args of [
    ['pull', name],
    ['run', '--rm', name, 'true'],
  ]) {
    const terminal = await Pty.open(`${cli} ${args.join(' ')}; echo "code:$?"`, engine.env);
    await new Promise((resolve) => setTimeout(resolve, 700));
    terminal.type('\u0003');
    await terminal.shows(/^code:130\r/m);
    await terminal.exited;
  }
  silent.close();
});

t.run();
