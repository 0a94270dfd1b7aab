import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import {
  combineMounts,
  defaultMounts,
  ociMount,
  resolveMounts,
  type DefaultMountChoices,
} from '../../src/engine/containers/mounts.ts';
import { parseMount, parseTmpfs, parseVolume } from '../../src/engine/containers/notation/mounts.ts';
import { refuses } from './refuses.ts';

const t = suite('mounts');

t('-v names a directory, a volume, or nothing', () => {
  assert.equal(parseVolume('/src/./a:/dst/'), { type: 'bind', source: '/src/a', target: '/dst', createSource: true });
  assert.equal(parseVolume('data:/dst:ro,nocopy'), {
    type: 'volume',
    source: 'data',
    target: '/dst',
    readOnly: true,
    noCopy: true,
  });
  assert.equal(parseVolume('/dst'), { type: 'volume', target: '/dst' });
  assert.is((parseVolume('/a:/b:rslave,z') as { propagation?: string }).propagation, 'rslave');
  for (const text of ['', ':', '/a:', '/a:b', 'a:/', '/a:/b:what', '/a:/b:ro:x', '../a:/b', 'a b:/c', 'd:/c:rshared']) {
    refuses(() => parseVolume(text), 'MOUNT_INVALID');
  }
});

t('a target climbs no higher than the root', () => {
  assert.is(parseVolume('/a:/b/../../etc').target, '/etc');
  refuses(() => parseVolume('/a:/b/..'), 'MOUNT_INVALID', /destination can't be/);
});

t('--mount has fields, quoted where they hold a comma', () => {
  assert.equal(parseMount('type=bind,src=/a,dst=/b,ro'), { type: 'bind', source: '/a', target: '/b', readOnly: true });
  assert.equal(parseMount('type=bind,"source=/a,b",target=/b,readonly=false'), {
    type: 'bind',
    source: '/a,b',
    target: '/b',
    readOnly: false,
  });
  assert.equal(parseMount('src=data,destination=/b,volume-nocopy'), {
    type: 'volume',
    source: 'data',
    target: '/b',
    noCopy: true,
  });
  assert.equal(parseMount('type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770'), {
    type: 'tmpfs',
    target: '/t',
    size: 2 ** 20,
    mode: 0o1770,
  });
  for (const text of [
    '',
    'type=bind,target=/b',
    'type=bind,source=/a',
    'type=nfs,target=/a',
    'type=bind,source=/a,target=/b,what=1',
    'type=bind,source=a,target=/b',
    'type=tmpfs,target=/t,tmpfs-mode=9',
    'source,target=/b',
    'type=bind,source=/a,target=/b,ro=maybe',
    'type=bind,source=/a,,target=/b',
    'type=volume,volume-driver=nfs,source=a,target=/b',
  ]) {
    refuses(() => parseMount(text), 'MOUNT_INVALID');
  }
});

t('--tmpfs takes tmpfs’s own options and no others', () => {
  assert.equal(parseTmpfs('/run:size=64m,exec,mode=700,uid=5'), {
    type: 'tmpfs',
    target: '/run',
    size: 64 * 2 ** 20,
    mode: 0o700,
    options: ['exec', 'uid=5'],
  });
  assert.equal(ociMount(parseTmpfs('/run:exec,size=1k'), String).options, [
    'nosuid',
    'nodev',
    'rw',
    'size=1024',
    'exec',
  ]);
  for (const text of ['run', '/run:what', '/run:size=', '/run:mode=9', '/run:context=x']) {
    assert.throws(
      () => parseTmpfs(text),
      (error: { exitCode: number }) => error.exitCode === 125,
    );
  }
});

t('the image’s volumes are anonymous, unless something is mounted there', () => {
  const image = { Volumes: { '/data': {}, '/cache/': {}, '../../srv': {}, '/': {} } };
  const mounts = resolveMounts(image, { volumes: ['/host:/cache'], tmpfs: ['/x/y'] });
  assert.equal(
    mounts.map(({ type, target }) => `${type} ${target}`),
    ['bind /cache', 'volume /data', 'volume /srv', 'tmpfs /x/y'],
  );
  const [, data] = mounts;
  assert.ok(data?.type === 'volume' && data.anonymous);
});

t('the outermost is mounted first, and none twice', () => {
  const mounts = resolveMounts({}, { volumes: ['/h:/a/b/c', '/h:/a'], mounts: ['type=tmpfs,dst=/a/b'] });
  assert.equal(
    mounts.map(({ target }) => target),
    ['/a', '/a/b', '/a/b/c'],
  );
  refuses(
    () => resolveMounts({}, { volumes: ['/h:/a'], tmpfs: ['/a/'] }),
    'MOUNT_DUPLICATE',
    /Duplicate mount point: \/a/,
  );
});

t('a volume is bound from where it lies, read-only where asked', () => {
  const [mount] = resolveMounts({}, { volumes: ['data:/d:ro'] });
  assert.equal(
    ociMount(mount!, (name) => `/volumes/${name}`),
    { destination: '/d', type: 'bind', source: '/volumes/data', options: ['rbind', 'ro', 'rprivate'] },
  );
});

const plain: DefaultMountChoices = {
  privileged: false,
  shmSize: 1024,
  foreignNetwork: false,
  pid: 'private',
  ipc: 'private',
  inUserNamespace: false,
};

function find(choices: Partial<DefaultMountChoices>, destination: string) {
  return defaultMounts({ ...plain, ...choices }).find((mount) => mount.destination === destination);
}

t('the defaults are Docker’s', () => {
  assert.equal(
    defaultMounts(plain).map(({ destination, type }) => `${destination} ${type}`),
    [
      '/proc proc',
      '/dev tmpfs',
      '/dev/pts devpts',
      '/sys sysfs',
      '/sys/fs/cgroup cgroup',
      '/dev/mqueue mqueue',
      '/dev/shm tmpfs',
    ],
  );
  assert.ok(find({}, '/sys')!.options.includes('ro'));
  assert.ok(find({ privileged: true }, '/sys')!.options.includes('rw'));
  assert.ok(find({}, '/dev/shm')!.options.includes('size=1024'));
  assert.is(find({ ipc: 'host' }, '/dev/shm')!.type, 'bind');
  assert.is(find({ ipc: 'none' }, '/dev/shm'), undefined);
});

t('what a user namespace cannot mount anew is bound', () => {
  assert.is(find({ pid: 'host', inUserNamespace: true }, '/proc')!.type, 'bind');
  assert.is(find({ foreignNetwork: true, inUserNamespace: true }, '/sys')!.type, 'bind');
  assert.is(find({ foreignNetwork: true, inUserNamespace: true }, '/sys/fs/cgroup'), undefined);
  assert.is(find({ pid: 'host' }, '/proc')!.type, 'proc');
});

t('a user’s mount takes the place of a default, and /dev of all that is in it', () => {
  const users = resolveMounts({}, { volumes: ['/h:/dev/shm', '/h:/sys'] }).map((mount) => ociMount(mount, String));
  const combined = combineMounts(defaultMounts(plain), [], users);
  assert.is(combined.filter(({ destination }) => destination === '/dev/shm').length, 1);
  assert.is(combined.find(({ destination }) => destination === '/sys')!.type, 'bind');
  const dev = combineMounts(
    defaultMounts(plain),
    [],
    [ociMount({ type: 'bind', source: '/dev', target: '/dev' }, String)],
  );
  assert.equal(
    dev.map(({ destination }) => destination),
    ['/proc', '/sys', '/sys/fs/cgroup', '/dev'],
  );
});

t('a volume on /etc has the container’s own files in it', () => {
  const files = [ociMount({ type: 'bind', source: '/c/hosts', target: '/etc/hosts' }, String)];
  const users = [ociMount({ type: 'bind', source: '/h', target: '/etc' }, String)];
  assert.equal(
    combineMounts([], files, users).map(({ destination }) => destination),
    ['/etc', '/etc/hosts'],
  );
});

t.run();
