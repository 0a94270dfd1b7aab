// Ports opened and closed while their container runs, and what stands in a port's way. Everything is in a network namespace
// of this file's own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('published ports');
const image = 'host:bash,busybox,sleep,true';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
});

t.after(() => test.close());

const kapsel = (...args: string[]) => test.output(...args);

/** A web server that says its container's hostname. */
function serve(name: string, ...flags: string[]): Promise<string> {
  const server = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
  return kapsel('run', '-d', '--name', name, '-h', name, '--network', 'bridge', ...flags, image, ...server);
}

const fetched = async (url: string) => {
  const { stdout } = await run('curl', ['-sS', '-m', '3', `http://${url}/hostname`]);
  return stdout.trim() || 'no';
};
const everywhere = (port: number) => Promise.all([`127.0.0.1:${port}`, `[::1]:${port}`].map(fetched));

async function refused(args: string[], exitCode: number, message: RegExp): Promise<void> {
  const result = await test.kapsel(args);
  assert.is(result.exitCode, exitCode, result.stderr);
  assert.match(result.stderr, message);
  assert.is(result.stderr.trim().split('\n').length, 1, result.stderr);
}

t('every port that is exposed is published at one that is free', async () => {
  await serve('all', '-P', '--expose', '80', '--expose', '53/udp');
  const [, port = ''] = /^0\.0\.0\.0:(\d+)\n\[::\]:\1\n$/.exec(await kapsel('port', 'all', '80')) ?? [];
  assert.equal(await everywhere(Number(port)), ['all', 'all']);
  const [, udp = ''] = /^0\.0\.0\.0:(\d+)\n\[::\]:\1\n$/.exec(await kapsel('port', 'all', '53/udp')) ?? [];
  const { stdout } = await run('nft', ['get', 'element', 'inet', 'kapsel', 'any4', `{ udp . ${udp} }`]);
  assert.match(stdout, /: 10\.\d+\.\d+\.\d+ \. 53/);
  await kapsel('rm', '-f', 'all');
});

t('a range leads to a range, and of a range to one port the next that is free is taken', async () => {
  const servers =
    'for n in 80 81 82; do busybox mkdir $n; echo $n > $n/hostname; busybox httpd -p $n -h $n; done; sleep 600';
  const flags = ['-d', '--name', 'range', '-w', '/srv', '--network', 'bridge', '-p', '8100-8102:80-82'];
  await kapsel('run', ...flags, image, 'bash', '-c', servers);
  for (const [at, port] of [80, 81, 82].entries()) {
    for (let tries = 0; tries < 100 && (await fetched(`127.0.0.1:${8100 + at}`)) === 'no'; tries++);
    assert.equal(await everywhere(8100 + at), [String(port), String(port)]);
  }
  for (const [name, port] of [
    ['next', 8103],
    ['last', 8104],
  ] as const) {
    await serve(name, '-p', '8100-8104:80');
    assert.is(await kapsel('port', name), `80/tcp -> 0.0.0.0:${port}\n80/tcp -> [::]:${port}\n`);
    assert.equal(await everywhere(port), [name, name]);
  }
  const more = ['run', '--rm', '--network', 'bridge', '-p', '8100-8104:80', image, 'true'];
  await refused(more, 125, /port 0\.0\.0\.0:8104\/tcp is already published by container last/);
  await kapsel('rm', '-f', 'range', 'next', 'last');
});

t('a running container gets ports and loses them, and a start brings them back', async () => {
  await serve('web', '-p', '127.0.0.1:8000:80');
  assert.is(await kapsel('port', 'web'), '80/tcp -> 127.0.0.1:8000\n');
  await kapsel('port', 'add', 'web', '-p', '8080:80', '-p', '127.0.0.1:5353:53/udp');
  assert.equal(await everywhere(8080), ['web', 'web']);
  assert.is(
    await kapsel('port', 'web'),
    '53/udp -> 127.0.0.1:5353\n80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8000\n80/tcp -> [::]:8080\n',
  );
  assert.is(await kapsel('port', 'web', '53/udp'), '127.0.0.1:5353\n');
  assert.match(await kapsel('ps', '--format', '{{.Ports}}'), '0.0.0.0:8080->80/tcp');
  await kapsel('stop', '-t', '0', 'web');
  assert.is(await kapsel('port', 'web'), '');
  assert.equal(await everywhere(8080), ['no', 'no']);
  await kapsel('start', 'web');
  assert.equal(await everywhere(8080), ['web', 'web']);
  await kapsel('port', 'rm', 'web', '8080:80');
  assert.equal(await everywhere(8080), ['no', 'no']);
  assert.is(await fetched('127.0.0.1:8000'), 'web');
  await kapsel('port', 'rm', 'web', '80', '53/udp');
  assert.is(await kapsel('port', 'web'), '');
  assert.is(await fetched('127.0.0.1:8000'), 'no');
  await kapsel('restart', '-t', '0', 'web');
  assert.is(await kapsel('port', 'web'), '');
  await kapsel('rm', '-f', 'web');
});

t('one that does not run has them when it starts', async () => {
  await kapsel('create', '--name', 'later', '--network', 'bridge', '-p', '8001:80', image, 'sleep', '60');
  await kapsel('port', 'add', 'later', '127.0.0.1:8002:80');
  await kapsel('port', 'rm', 'later', '8001:80');
  await kapsel('start', 'later');
  assert.is(await kapsel('port', 'later', '80'), '127.0.0.1:8002\n');
  await kapsel('rm', '-f', 'later');
});

t('a port that any container or program has is refused at once with who has it, and nothing is left', async () => {
  await serve('holder', '-p', '8081:80');
  await serve('asks');
  const taken = /port 0\.0\.0\.0:8081\/tcp is already published by container holder/;
  await refused(['port', 'add', 'asks', '-p', '8082:80', '-p', '8081:80'], 1, taken);
  await refused(['run', '--name', 'refused', '--network', 'bridge', '-p', '8081:80', image, 'true'], 125, taken);
  const listener = spawn(process.execPath, ['-e', "require('net').createServer().listen(8083, () => console.log())"]);
  await once(listener.stdout, 'data');
  await refused(['port', 'add', 'asks', '8084:80', '8083:80'], 1, /port .*:8083\/tcp is taken by .* \(process \d+\)/);
  listener.kill();
  assert.is(await kapsel('port', 'asks'), '');
  assert.equal(await everywhere(8084), ['no', 'no']);
  await kapsel('port', 'add', 'asks', '8082:80');
  assert.equal(await everywhere(8082), ['asks', 'asks']);
  // As Docker: it has not run, and 128 is not the program's.
  assert.match(
    await kapsel('inspect', '-f', '{{.State.ExitCode}} {{.State.Error}}', 'refused'),
    /^128 port 0\.0\.0\.0/,
  );
  await kapsel('rm', '-f', 'holder', 'asks', 'refused');
});

t('what is no port, or not published, is one line', async () => {
  await serve('plain', '-p', '80');
  await refused(['port', 'plain', '81'], 1, /No public port '81\/tcp' published for plain/);
  await refused(['port', 'nobody'], 1, /No such container: nobody/);
  await refused(['port', 'rm', 'plain', '81'], 1, /No public port '81\/tcp' published for plain/);
  await refused(['port', 'add', 'plain', 'http'], 125, /invalid publish 'http'/);
  await refused(['port', 'add', 'plain'], 1, /no port is named/);
  await kapsel('run', '-d', '--name', 'none', '--network', 'none', image, 'sleep', '60');
  await refused(['port', 'add', 'none', '80'], 1, /container none is on no network of its own/);
  // A free one is chosen, and stays while others come.
  const chosen = await kapsel('port', 'plain', '80');
  await kapsel('port', 'add', 'plain', '8085:80');
  assert.ok((await kapsel('port', 'plain', '80')).includes(chosen.split('\n', 1)[0]!));
  await kapsel('rm', '-f', 'plain', 'none');
});

t('the usual address of the host is the engine’s to say, and the first open port is warned of once', async () => {
  const env = { KAPSEL_PUBLISH_DEFAULT: '127.0.0.1' };
  const flags = ['--rm', '--network', 'bridge', '-p', '8086:80'];
  const own = await testEngine();
  try {
    const here = await own.kapsel(['run', ...flags, image, 'true'], { env });
    assert.equal([here.exitCode, here.stderr], [0, '']);
    const first = await own.kapsel(['run', ...flags, image, 'true']);
    assert.match(first.stderr, /^WARNING: port 80\/tcp is published at every address of this machine/);
    const second = await own.kapsel(['run', ...flags, image, 'true']);
    assert.equal([second.exitCode, second.stderr], [0, '']);
    const wrong = await own.kapsel(['--publish-default', 'here', 'ps']);
    assert.is(wrong.exitCode, 125);
    await own.kapsel(['--publish-default', '127.0.0.1', 'run', '-d', '--name', 'own', ...flags, image, 'sleep', '60']);
    assert.is((await own.kapsel(['port', 'own'])).stdout, '80/tcp -> 127.0.0.1:8086\n');
  } finally {
    await own.close();
  }
});

t.run();
