import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { allCapabilities, capabilities, defaultCapabilities } from '../../src/engine/containers/capabilities.ts';
import { containerName, device, generatedName } from '../../src/engine/containers/notation/names.ts';
import type { CreateOptions } from '../../src/engine/containers/options.ts';
import { linuxResources, resolveLimits } from '../../src/engine/containers/resources.ts';
import { checkSysctls } from '../../src/engine/containers/sysctls.ts';
import { refuses } from './refuses.ts';

const t = suite('limits, capabilities and names');
const online = new Set([0, 1]);
const limits = (options: CreateOptions) => resolveLimits(options, online);
const able = () => new Set(allCapabilities.filter((name) => name !== 'CAP_SYS_RESOURCE'));

t('memory brings as much swap, unless told', () => {
  assert.equal(limits({ memory: '64m' }), { memory: 67108864, memorySwap: 134217728 });
  assert.equal(limits({ memory: '64m', memorySwap: '64m' }), { memory: 67108864, memorySwap: 67108864 });
  assert.equal(limits({ memory: '64m', memorySwap: -1 }), { memory: 67108864, memorySwap: -1 });
  assert.equal(limits({ memory: 0, memorySwap: '-1' }), {});
  refuses(() => limits({ memory: '4m' }), 'MEMORY_INVALID', /6MB/);
  refuses(() => limits({ memorySwap: '64m' }), 'MEMORY_INVALID', /Memory limit/);
  refuses(() => limits({ memory: '64m', memorySwap: '32m' }), 'MEMORY_INVALID', /larger/);
  refuses(() => limits({ memory: '64m', memoryReservation: '65m' }), 'MEMORY_INVALID');
  refuses(() => limits({ memory: -1 }), 'MEMORY_INVALID');
});

t('processors are those there are', () => {
  assert.equal(linuxResources(limits({ cpus: '1.5', cpuShares: 512, cpusetCpus: '0-1' }), []), {
    devices: [],
    cpu: { shares: 512, quota: 150000, period: 100000, cpus: '0-1', mems: undefined },
  });
  refuses(() => limits({ cpus: '2.5' }), 'CPUS_INVALID', /as there are only 2 CPUs/);
  refuses(() => limits({ cpus: 0.001 }), 'CPUS_INVALID');
  refuses(() => limits({ cpusetCpus: '1-2' }), 'CPU_LIST_INVALID', /not available/);
  refuses(() => limits({ cpuShares: 1 }), 'CPU_SHARES_INVALID');
});

t('a process limit of 0 or -1 is none', () => {
  assert.equal(
    [limits({ pidsLimit: 0 }), limits({ pidsLimit: -1 }), limits({ pidsLimit: 5 })],
    [{}, {}, { pidsLimit: 5 }],
  );
  refuses(() => limits({ pidsLimit: -2 }), 'PIDS_LIMIT_INVALID');
});

t('capabilities start from Docker’s fourteen', () => {
  assert.is(defaultCapabilities.length, 14);
  assert.equal(capabilities([], [], false, able), defaultCapabilities);
  assert.equal(capabilities([], ['all'], false, able), []);
  assert.equal(capabilities(['net_admin'], ['ALL'], false, able), ['CAP_NET_ADMIN']);
  assert.not.ok(capabilities([], ['CAP_CHOWN'], false, able).includes('CAP_CHOWN'));
  assert.ok(capabilities(['chown'], ['chown'], false, able).includes('CAP_CHOWN'), 'an added name wins');
  const all = capabilities(['ALL'], ['sys_admin'], false, able);
  assert.is(all.length, allCapabilities.length - 2);
  assert.not.ok(all.includes('CAP_SYS_ADMIN') || all.includes('CAP_SYS_RESOURCE'));
  assert.ok(capabilities([], [], true, able).includes('CAP_SYS_ADMIN'));
  refuses(() => capabilities(['NOPE'], [], false, able), 'CAPABILITY_INVALID');
  refuses(() => capabilities(['SYS_RESOURCE'], [], false, able), 'CAPABILITY_UNSUPPORTED');
});

t('a sysctl belongs to a namespace of the container’s own', () => {
  const given = { 'net.ipv4.ip_forward': '1', 'kernel.shmmax': '5', 'fs.mqueue.msg_max': '9' };
  assert.equal(checkSysctls(given, 'none', 'private'), given);
  refuses(() => checkSysctls({ 'kernel.core_pattern': '|/x' }, 'none', 'private'), 'SYSCTL_INVALID', /whitelisted/);
  refuses(() => checkSysctls({ 'net.core.somaxconn': '1' }, 'host', 'private'), 'SYSCTL_INVALID');
  refuses(() => checkSysctls({ 'kernel.msgmax': '1' }, 'none', 'host'), 'SYSCTL_INVALID');
  for (const name of [
    'net.ipv4.x+kernel.core_pattern',
    'net',
    '../kernel/core_pattern',
    'net..x',
    'net.ipv4/../../kernel/x',
  ]) {
    refuses(() => checkSysctls({ [name]: '1' }, 'none', 'private'), 'SYSCTL_INVALID');
  }
  refuses(() => checkSysctls({ 'net.a.b': '1\nkernel.x=2' }, 'none', 'private'), 'SYSCTL_INVALID');
});

t('names are letters, digits, and three signs within', () => {
  assert.is(containerName('/web_1.a-b'), 'web_1.a-b');
  for (const name of ['', 'a', '-ab', 'a b', 'a/b', '../x', 'é1']) refuses(() => containerName(name), 'NAME_INVALID');
  assert.match(generatedName(0), /^[a-z]+_[a-z]+$/);
  assert.match(generatedName(3), /^[a-z]+_[a-z]+\d{1,3}$/);
});

t('a device has a source, a target and permissions', () => {
  assert.equal(device('/dev/fuse'), { source: '/dev/fuse', target: '/dev/fuse', permissions: 'rwm' });
  assert.equal(device('/dev/fuse:rw'), { source: '/dev/fuse', target: '/dev/fuse', permissions: 'rw' });
  assert.equal(device('/dev/a:/dev/b:r'), { source: '/dev/a', target: '/dev/b', permissions: 'r' });
  for (const text of ['', 'fuse', '/dev/a:b', '/dev/a:/dev/b:x', '/dev/a:/b:r:w', '/dev/a:rr']) {
    refuses(() => device(text), 'DEVICE_INVALID');
  }
});

t.run();
