import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { deviceAccess } from '../../src/engine/containers/devices.ts';
import { encode, launch, type Ground } from '../../src/engine/containers/launch.ts';
import type { CreateOptions } from '../../src/engine/containers/options.ts';
import { containerPaths } from '../../src/engine/containers/paths.ts';
import { resolveSettings } from '../../src/engine/containers/settings.ts';
import { refuses } from './refuses.ts';

const id = '0123456789abcdef'.repeat(4);
const paths = containerPaths('/root', '/run', id);

function launched(options: CreateOptions = {}, ground: Partial<Ground> = {}) {
  const settings = resolveSettings(id, { Cmd: ['true'] }, options, {
    cgroupParent: '/kapsel',
    defaultNetwork: 'none',
    hostname: 'machine',
    cpus: new Set([0]),
  });
  const devices = deviceAccess(settings.devices, settings.privileged);
  return launch(id, settings, paths, ['/l2', '/l1'], {
    rootless: false,
    cgroups: true,
    mappings: [],
    devices,
    ...ground,
  });
}

const kinds = (options: CreateOptions, ground?: Partial<Ground>) =>
  launched(options, ground)
    .config.linux.namespaces.map(({ type }) => type)
    .join(' ');

const t = suite('settings become a Launch');

t('every namespace but user is new by default', () => {
  assert.is(kinds({}), 'mount pid ipc uts network cgroup');
  assert.is(kinds({ pid: 'host', ipc: 'host', uts: 'host', network: 'host', cgroupns: 'host' }), 'mount');
  const mappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
  assert.is(kinds({}, { mappings }), 'mount pid ipc uts network cgroup user');
  assert.equal(launched({}, { mappings }).config.linux.uidMappings, mappings);
});

t('the root is the image’s layers below the container’s own', () => {
  assert.equal(launched().overlay, {
    lowers: ['/l2', '/l1'],
    upper: `/root/containers/${id}/upper`,
    work: `/root/containers/${id}/work`,
  });
  assert.is(launched().config.root.readonly, false);
  assert.is(launched({ readOnly: true }).config.root.readonly, true);
});

t('the paths Docker hides are hidden, but from the privileged', () => {
  const { linux } = launched().config;
  assert.ok(linux.maskedPaths.includes('/proc/kcore'));
  assert.ok(linux.readonlyPaths.includes('/proc/sys'));
  const privileged = launched({ privileged: true });
  assert.equal(privileged.config.linux.maskedPaths, []);
  assert.is(privileged.seccomp, 'unconfined');
  assert.equal(privileged.config.linux.resources['devices'], [{ allow: true, access: 'rwm' }]);
  assert.ok(privileged.config.linux.devices.some(({ path }) => path === '/dev/null'));
});

t('no device is open but the standard ones, and those asked for', () => {
  const rules = (options: CreateOptions) => launched(options).config.linux.resources['devices'] as object[];
  assert.equal(rules({})[0], { allow: false, access: 'rwm' });
  const added = launched({ devices: ['/dev/null:/dev/nul:r'] });
  assert.equal((added.config.linux.resources['devices'] as object[]).at(-1), {
    allow: true,
    type: 'c',
    major: 1,
    minor: 3,
    access: 'r',
  });
  assert.is(added.config.linux.devices[0]!.path, '/dev/nul');
  refuses(() => launched({ devices: ['/dev/nope'] }), 'DEVICE_NOT_FOUND', /no such file/);
  refuses(() => launched({ devices: ['/etc/passwd'] }), 'DEVICE_INVALID', /not a device/);
});

t('nothing is inheritable, and a dropped capability is in no set', () => {
  const { capabilities } = launched({ capDrop: ['KILL'] }).config.process;
  assert.equal(Object.keys(capabilities).sort(), ['bounding', 'effective', 'permitted']);
  for (const set of Object.values(capabilities)) assert.not.ok(set.includes('CAP_KILL'));
});

t('a limit of -1 is RLIM_INFINITY, to the last digit', () => {
  const text = encode(launched({ ulimits: ['core=-1'] }));
  assert.match(text, '"type":"RLIMIT_CORE","soft":18446744073709551615,"hard":18446744073709551615');
});

t('low ports and ping are anybody’s in a network of the container’s own', () => {
  assert.equal(launched().config.linux.sysctl, {
    'net.ipv4.ip_unprivileged_port_start': '0',
    'net.ipv4.ping_group_range': '0 2147483647',
  });
  assert.equal(launched({ network: 'host' }).config.linux.sysctl, {});
  assert.equal(Object.keys(launched({}, { rootless: true }).config.linux.sysctl), [
    'net.ipv4.ip_unprivileged_port_start',
  ]);
});

t('without cgroups there is no path, and with --rm everything goes', () => {
  assert.is(launched({}, { cgroups: false }).config.linux.cgroupsPath, undefined);
  assert.is(launched().config.linux.cgroupsPath, `/kapsel/${id}`);
  assert.equal(launched().removeOnExit, []);
  assert.equal(launched({ rm: true }).removeOnExit, [`/root/containers/${id}`]);
});

t('hostname, hosts and resolv.conf are the container’s own files', () => {
  const sources = launched().config.mounts.filter(({ destination }) => destination.startsWith('/etc/'));
  assert.equal(
    sources.map(({ source }) => source),
    ['hostname', 'hosts', 'resolv.conf'].map((name) => `/run/containers/${id}/${name}`),
  );
  assert.is(
    launched({ volumes: ['/h:/etc/hosts'] }).config.mounts.filter(({ destination }) => destination === '/etc/hosts')
      .length,
    1,
  );
});

t('a volume is filled from the image once, unless told not to', () => {
  assert.equal(launched({ volumes: ['data:/d', 'other:/o:nocopy', '/h:/b'] }).copyUp, ['/d']);
});

t('a bind that receives mounts has a root that lets them through', () => {
  assert.is(launched({ volumes: ['/h:/b:rslave'] }).config.linux.rootfsPropagation, 'slave');
  assert.is(launched({ volumes: ['/h:/b:shared'] }).config.linux.rootfsPropagation, 'shared');
  assert.is(launched().config.linux.rootfsPropagation, undefined);
});

t('a stop that waits for ever is a number the monitor knows', () => {
  assert.is(launched({ stopTimeout: -1 }).stopTimeout, 4294967295);
});

t.run();
