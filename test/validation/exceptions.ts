// What the programs say and is not so, to the letter. Each is explained in README.md; a failure that is not here is one of
// ours, and so is one that is here and does not happen.

import { existsSync, readFileSync } from 'node:fs';

/** What a program says where there is nothing wrong with the executable. */
export interface Exception {
  program: string;
  /** The names of the tests that fail, all of them and in their order. */
  failed: (string | RegExp)[];
  /** Part of what is said beside the tests' names. */
  says?: string;
  /** The program's exit status; absent: 0. */
  exitCode?: number;
  /** Whether it is to be expected on this machine. */
  here: boolean;
}

const controllers = readFileSync('/proc/self/cgroup', 'utf8')
  .split('\n')
  .flatMap((line) => (line.split(':')[1] ?? '').split(','));
const has = (controller: string) => controllers.includes(controller);
const [major, minor] = readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number) as [number, number];
const isSince = (release: [number, number]) => major > release[0] || (major === release[0] && minor >= release[1]);
const permitted = BigInt(`0x${/CapPrm:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]}`);
const lacking = 41 - permitted.toString(2).replaceAll('0', '').length;
const sets = ['bounding', 'effective', 'inheritable', 'permitted', 'ambient'];
const hasLeafWeight = existsSync('/sys/fs/cgroup/blkio/blkio.leaf_weight');
/** Linux 5.16 and later take a limit of the kernel's memory and forget it; the file went in 6.10. */
const keepsKernelMemory = existsSync('/sys/fs/cgroup/memory/memory.kmem.limit_in_bytes') && !isSince([5, 16]);
const hasAppArmor = existsSync('/sys/kernel/security/apparmor');

const always = true;
const pids = 'pids limit is set correctly';
const leafWeight = 'blockIO.leafWeight: this kernel has no such limit; leave it out';
const classId = 'network.classID was asked for, but the net_cls cgroup controller is not to be had here';
const kernelMemory = 'memory kernel is set correctly';

export const exceptions: Exception[] = [
  // The specification says otherwise.
  {
    program: 'process_capabilities_fail',
    failed: [],
    says: 'Any value which cannot be mapped to a relevant kernel interface MUST cause an error',
    exitCode: 1,
    here: always,
  },
  { program: 'start', failed: ['`start` operation MUST generate an error if `process` was not set'], here: always },
  // The programs are wrong.
  { program: 'linux_cgroups_pids', failed: [pids], here: always },
  { program: 'linux_cgroups_relative_pids', failed: [pids], here: always },
  { program: 'delete_resources', failed: [pids], here: always },
  {
    program: 'misc_props',
    failed: [
      'implementations that are reading/processing this configuration file MUST NOT generate an error if they encounter an unknown annotation key',
    ],
    says: 'exec: \\"/runtimetest\\": no such file or directory',
    here: always,
  },
  {
    program: 'mounts',
    failed: [
      'mounts[9] (/mnt/etc-shared) found in order',
      'mounts[10] (/mnt/etc-rshared) found in order',
      'mounts[11] (/mnt/etc-slave) found in order',
      'mounts[12] (/mnt/etc-rslave) found in order',
      'mounts[13] (/mnt/etc-private) found in order',
      'mounts[14] (/mnt/etc-rprivate) found in order',
      'mounts[15] (/mnt/etc-unbindable) found in order',
      'mounts[16] (/mnt/etc-runbindable) found in order',
    ],
    here: isSince([6, 8]),
  },
  {
    program: 'pidfile',
    failed: ["create with '--pid-file' option works"],
    says: 'container not running',
    here: always,
  },
  { program: 'process_rlimits', failed: ['has expected soft RLIMIT_NOFILE'], here: always },
  // Refused, for what it would cost.
  {
    program: 'linux_ns_itype',
    failed: ['cannot run validation tests: exit status 1'],
    says: "linux.namespaces must hold a mount namespace: without one the host's would change",
    here: always,
  },
  // This machine has not what they ask for.
  {
    program: 'process_capabilities',
    failed: sets.flatMap((set) =>
      Array.from({ length: lacking }, () => new RegExp(`^expected ${set} capability CAP_\\w+ set$`)),
    ),
    here: lacking > 0,
  },
  { program: 'linux_cgroups_blkio', failed: [], says: leafWeight, exitCode: 1, here: !hasLeafWeight },
  { program: 'linux_cgroups_relative_blkio', failed: ['exit status 1'], says: leafWeight, here: !hasLeafWeight },
  { program: 'linux_cgroups_network', failed: [], says: classId, exitCode: 1, here: !has('net_cls') },
  { program: 'linux_cgroups_relative_network', failed: ['exit status 1'], says: classId, here: !has('net_cls') },
  {
    program: 'linux_cgroups_hugetlb',
    failed: [],
    says: 'the runtime MUST take the path to be relative to the cgroups mount point',
    exitCode: 1,
    here: !has('hugetlb'),
  },
  {
    program: 'linux_cgroups_relative_hugetlb',
    failed: ['get hugetlb cgroup data', 'get hugetlb cgroup data'],
    says: 'subsystem hugetlb not found',
    here: !has('hugetlb'),
  },
  { program: 'linux_cgroups_memory', failed: Array.from({ length: 6 }, () => kernelMemory), here: !keepsKernelMemory },
  { program: 'linux_cgroups_relative_memory', failed: [kernelMemory], here: !keepsKernelMemory },
  {
    program: 'linux_mount_label',
    failed: [],
    says: "cannot mount a tmpfs on /dev (tmpfs: Unknown parameter 'context'): invalid argument",
    exitCode: 1,
    here: !existsSync('/sys/fs/selinux/enforce'),
  },
  {
    program: 'linux_process_apparmor_profile',
    failed: [],
    says: 'cannot run with the AppArmor profile acme_secure_profile; is it loaded?',
    exitCode: 1,
    here: !hasAppArmor,
  },
];

/** Programs that lose a race of their own now and then, and how often they may. Explained in README.md. */
export const races = new Map([['killsig', 5]]);
