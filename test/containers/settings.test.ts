import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import type { CreateOptions } from '../../src/engine/containers/options.ts';
import { resolveSettings } from '../../src/engine/containers/settings.ts';
import type { ProcessDefaults } from '../../src/registry/oci.ts';
import { refuses } from './refuses.ts';

const id = 'abcdef0123456789'.repeat(4);
const surroundings = { cgroupParent: '/kapsel', defaultNetwork: 'none', hostname: 'machine', cpus: new Set([0, 1]) };
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function settle(image: ProcessDefaults, options: CreateOptions = {}) {
  return resolveSettings(id, image, options, surroundings);
}

const t = suite('an image and options become settings');

t('the words are the entrypoint and the command', () => {
  const image = { Entrypoint: ['/init', '-v'], Cmd: ['serve'] };
  const words = (options: CreateOptions) => {
    const { entrypoint, command } = settle(image, options);
    return [entrypoint, command];
  };
  assert.equal(words({}), [['/init', '-v'], ['serve']]);
  assert.equal(words({ command: ['debug', '1'] }), [
    ['/init', '-v'],
    ['debug', '1'],
  ]);
  assert.equal(words({ entrypoint: '/bin/sh' }), [['/bin/sh'], []], 'the Cmd goes with its Entrypoint');
  assert.equal(words({ entrypoint: ['/bin/sh', '-c'], command: ['ls'] }), [['/bin/sh', '-c'], ['ls']]);
  assert.equal(words({ entrypoint: '', command: ['ls'] }), [[], ['ls']], 'an empty one resets it');
});

t('without any word there is nothing to run', () => {
  refuses(() => settle({}), 'COMMAND_MISSING', /No command specified/);
  refuses(() => settle({ Cmd: ['x'] }, { entrypoint: '' }), 'COMMAND_MISSING');
  refuses(() => settle({}, { command: ['a\0b'] }), 'COMMAND_INVALID');
});

t('the environment is PATH and HOSTNAME, the image’s, the user’s', () => {
  const env = (image: ProcessDefaults, options: CreateOptions) => settle({ Cmd: ['x'], ...image }, options).env;
  assert.equal(env({}, {}), [path, 'HOSTNAME=abcdef012345']);
  assert.equal(env({ Env: ['PATH=/opt', 'A=1'] }, { env: { A: '2', B: 'x=y' } }), [
    'PATH=/opt',
    'HOSTNAME=abcdef012345',
    'A=2',
    'B=x=y',
  ]);
  assert.equal(
    env({ Env: ['A=1', 'B=2'] }, { env: ['A'] }),
    [path, 'HOSTNAME=abcdef012345', 'B=2'],
    'a bare name removes',
  );
  assert.ok(env({}, { tty: true }).includes('TERM=xterm'));
  assert.ok(env({}, { tty: true, env: ['TERM=vt100'] }).includes('TERM=vt100'));
  refuses(() => env({}, { env: ['=x'] }), 'ENVIRONMENT_INVALID');
  refuses(() => env({}, { env: ['A=\0'] }), 'ENVIRONMENT_INVALID');
});

t('the user’s identity, directory and signal stand before the image’s', () => {
  const image = { Cmd: ['x'], User: 'www:www', WorkingDir: '/srv/../app', StopSignal: 'SIGQUIT' };
  const plain = settle(image);
  assert.is(plain.user, 'www:www');
  assert.is(plain.workdir, '/app');
  assert.is(plain.stopSignal, 3);
  const told = settle(image, { user: '0', workdir: '/tmp/', stopSignal: 'HUP', groupAdd: [44, 'video'] });
  assert.is(told.user, '0');
  assert.is(told.workdir, '/tmp');
  assert.is(told.stopSignal, 1);
  assert.equal(told.groupAdd, ['44', 'video']);
  assert.is(settle({ Cmd: ['x'] }).workdir, '/');
  assert.is(settle({ Cmd: ['x'], WorkingDir: '../../etc' }).workdir, '/etc');
  refuses(() => settle(image, { workdir: 'tmp' }), 'WORKDIR_INVALID', /absolute/);
  refuses(() => settle(image, { stopSignal: 'SIGNOPE' }), 'SIGNAL_INVALID');
});

t('the hostname is the beginning of the id, unless told, or the machine’s where that is shared', () => {
  const image = { Cmd: ['x'] };
  assert.is(settle(image).hostname, 'abcdef012345');
  assert.is(settle(image, { hostname: 'web-1.example' }).hostname, 'web-1.example');
  assert.is(settle(image, { uts: 'host' }).hostname, 'machine');
  assert.is(settle(image, { network: 'host' }).hostname, 'machine');
  refuses(() => settle(image, { uts: 'host', hostname: 'a' }), 'HOSTNAME_CONFLICT');
  for (const hostname of ['', '-a', 'a..b', 'a b', 'x'.repeat(65), 'a\n127.0.0.1 b']) {
    refuses(() => settle(image, { hostname }), 'HOSTNAME_INVALID');
  }
});

t('a container is on the networks it names, and on none where it names none', () => {
  const image = { Cmd: ['x'], ExposedPorts: { '80/tcp': {} } };
  assert.is(settle(image).network, 'none');
  assert.is(settle(image, { network: 'host', publish: ['80:80'] }).ports.length, 0);
  const { network, networks } = settle(image, { network: ['web', 'name=db,alias=x,ip=10.1.0.9'], ip: '10.1.0.2' });
  assert.is(network, 'bridge');
  assert.equal(networks, [
    { network: 'web', aliases: [], ip: '10.1.0.2' },
    { network: 'db', aliases: ['x'], ip: '10.1.0.9' },
  ]);
  // What needs a network brings the default one.
  for (const options of [{ publish: ['80'] }, { publishAll: true }, { egress: ['deny'] }]) {
    assert.equal(settle(image, options).networks, [{ network: 'bridge', aliases: [] }]);
  }
  assert.equal(settle(image, { expose: ['80', '53/udp'] }).exposedPorts, ['80/tcp', '53/udp']);
  assert.equal(settle(image, { egress: ['allow=10.0.0.1,*.example.com', 'allow=fd00::/8'] }).egress, {
    allowed: ['10.0.0.1/32', 'fd00::/8'],
    names: ['*.example.com'],
  });
});

t('networks that contradict each other are refused', () => {
  const image = { Cmd: ['x'] };
  const refused = (options: CreateOptions, code: string) => refuses(() => settle(image, options), code);
  refused({ network: ['web', 'host'] }, 'NETWORK_CONFLICT');
  refused({ network: 'none', publish: ['80'] }, 'PORTS_CONFLICT');
  refused({ network: 'none', egress: ['deny'] }, 'NETWORK_CONFLICT');
  refused({ network: 'host', ip: '10.0.0.1' }, 'NETWORK_CONFLICT');
  refused({ network: 'web', ip: '10.0.0' }, 'NETWORK_INVALID');
  refused({ network: 'web', macAddress: '03:00:00:00:00:01' }, 'NETWORK_INVALID');
  refused({ network: 'alias=x' }, 'NETWORK_INVALID');
  refused({ network: 'name=web,speed=9' }, 'NETWORK_INVALID');
  refused({ network: 'container:' }, 'NETWORK_INVALID');
  refused({ egress: ['allow'] }, 'NETWORK_INVALID');
  refused({ egress: ['allow=a b'] }, 'NETWORK_INVALID');
  refused({ dns: ['one'] }, 'NETWORK_INVALID');
  refused({ addHosts: ['one'] }, 'NETWORK_INVALID');
  refused({ publish: ['x'] }, 'PORT_INVALID');
});

t('modes are one of their words', () => {
  const image = { Cmd: ['x'] };
  refuses(() => settle(image, { pid: 'container:a' as 'host' }), 'MODE_INVALID', /--pid/);
  refuses(() => settle(image, { ipc: 'shareable' as 'host' }), 'MODE_INVALID');
  refuses(() => settle(image, { userns: 'keep-id' }), 'USERNS_INVALID');
  assert.is(settle(image, { userns: '100000:65536' }).userns, '100000:65536');
  refuses(() => settle(image, { logDriver: 'syslog' as 'none' }), 'MODE_INVALID');
});

t('times and sizes are checked', () => {
  const image = { Cmd: ['x'] };
  assert.is(settle(image).shmSize, 64 * 2 ** 20);
  assert.is(settle(image, { shmSize: '1g' }).shmSize, 2 ** 30);
  assert.is(settle(image, { stopTimeout: -1 }).stopTimeout, -1);
  refuses(() => settle(image, { stopTimeout: 1.5 }), 'STOP_TIMEOUT_INVALID');
  refuses(() => settle(image, { oomScoreAdj: 1001 }), 'OOM_SCORE_INVALID');
  refuses(() => settle(image, { cgroupParent: '/a/../../b' }), 'CGROUP_PARENT_INVALID');
  assert.is(settle(image, { cgroupParent: 'mine' }).cgroupParent, '/mine');
  assert.equal(settle(image, { logOptions: { 'max-size': '10m', 'max-file': '3' } }).log, {
    driver: 'json-file',
    maxSize: 10 * 2 ** 20,
    maxFiles: 3,
  });
  assert.equal(
    settle(image, {}).log,
    { driver: 'json-file', maxSize: 20 * 2 ** 20, maxFiles: 5 },
    'bounded by default',
  );
  assert.is(settle(image, { logOptions: { 'max-size': '-1' } }).log.maxSize, 0);
  refuses(() => settle(image, { logOptions: { mode: 'x' } }), 'LOG_OPTION_INVALID');
});

t.run();
