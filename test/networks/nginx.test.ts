// nginx, as Debian has it, in twenty containers, each on its own port 80: behind published ports, by name, and for a browser
// on another machine, which it sees by its own address.
// deadline: 120

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { nginxTar } from '../harness/images.ts';
import { cable, Machine } from '../harness/machine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

// While the world can be reached.
const image = await nginxTar();
inOwnNetwork(import.meta.url);

const t = suite('nginx in twenty containers');
const count = 20;
let test: TestEngine;
let browser: Machine | undefined;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.import(image, { reference: 'nginx' });
  await test.engine.networks.create('web', { ipv6: true });
  browser = await Machine.make();
  cable(
    'b',
    { pid: process.pid, addresses: ['192.0.2.1/24', '2001:db8::1/64'] },
    { pid: browser.pid, addresses: ['192.0.2.2/24', '2001:db8::2/64'] },
  );
});

t.after(async () => {
  browser?.stop();
  await test.close();
});

/** What it serves, and how. */
async function site(name: string): Promise<string> {
  const directory = join(test.directory, name);
  await mkdir(directory);
  const server = `listen 80; listen [::]:80; location / { return 200 "${name} for $remote_addr\\n"; }`;
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path /tmp/${kind};`);
  await writeFile(
    join(directory, 'nginx.conf'),
    `user root; pid /tmp/pid; daemon off; events {} http { access_log off; ${places.join(' ')} server { ${server} } }`,
  );
  // Root is all that it needs to know of users.
  await writeFile(join(directory, 'passwd'), 'root:x:0:0::/:/bin/sh\n');
  await writeFile(join(directory, 'group'), 'root:x:0:\n');
  return directory;
}

t('each answers on its own port of the host, and by its name', async () => {
  const names = Array.from({ length: count }, (_, at) => `nginx${at}`);
  const before = await test.census();
  await Promise.all(
    names.map(async (name, at) => {
      const directory = await site(name);
      const files = [':/site', '/passwd:/etc/passwd', '/group:/etc/group'];
      const mount = ['--tmpfs', '/tmp', ...files.flatMap((file) => ['-v', `${directory}${file}:ro`])];
      const flags = ['--name', name, '--network', 'web', '-p', `${8000 + at}:80`, ...mount];
      const command = ['/usr/sbin/nginx', '-e', 'stderr', '-c', '/site/nginx.conf'];
      const { exitCode, stderr } = await test.kapsel(['run', '-d', ...flags, 'nginx', ...command]);
      assert.is(exitCode, 0, stderr);
    }),
  );
  const get = (url: string) => ['-sS', '-m', '10', '--retry', '5', '--retry-connrefused', '--retry-delay', '1', url];
  for (const [host, from] of [
    ['192.0.2.1', '192.0.2.2'],
    ['[2001:db8::1]', '2001:db8::2'],
  ]) {
    const answers = names.map((_, at) => browser!.run('curl', ...get(`http://${host}:${8000 + at}/`)));
    assert.equal(
      (await Promise.all(answers)).map(({ stdout, stderr }) => stdout + stderr),
      names.map((name) => `${name} for ${from}\n`),
    );
  }
  const own = await Promise.all(names.map((_, at) => run('curl', get(`http://127.0.0.1:${8000 + at}/`))));
  assert.equal(
    own.map(({ stdout }) => stdout.split(' ')[0]),
    names,
  );
  // One container asks all others by name, on port 80.
  await test.engine.images.ensure('host:bash,curl');
  const all = names.map((name) => `curl ${get(`http://${name}/`).join(' ')}`).join('; ');
  const asked = await test.kapsel(['run', '--rm', '--network', 'web', 'host:bash,curl', 'bash', '-c', all]);
  assert.equal(
    [...asked.stdout.matchAll(/^(\w+) for/gm)].map(([, name]) => name),
    names,
    asked.stderr,
  );
  assert.is((await test.kapsel(['rm', '-f', ...names])).exitCode, 0);
  assert.equal(await test.census(), before);
  const { stdout } = await run('nft', ['list', 'map', 'inet', 'kapsel', 'any4']);
  assert.not.match(stdout, 'elements');
});

t.run();
