// What the programs say and is not so. Each line is explained in README.md; a failure that is not here is one of ours.

import { existsSync, readFileSync } from 'node:fs';

/** A program that ends with its last words on stderr instead of a test's name. */
export interface Exception {
  program: string;
  /** Part of the failed test's name, or of the last words on stderr. */
  says: RegExp;
  /** Whether it is to be expected on this machine. */
  here: boolean;
}

const controllers = readFileSync('/proc/self/cgroup', 'utf8')
  .split('\n')
  .flatMap((line) => (line.split(':')[1] ?? '').split(','));
const has = (controller: string) => controllers.includes(controller);
const memory = '/sys/fs/cgroup/memory/memory.kmem.limit_in_bytes';
const permitted = BigInt(`0x${/CapPrm:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]}`);
const hasAllCapabilities = permitted === (1n << 41n) - 1n;

const always = true;

export const exceptions: Exception[] = [
  // The specification says otherwise.
  { program: 'process_capabilities_fail', says: /MUST cause an error/, here: always },
  { program: 'start', says: /^exit status 1$|MUST generate an error if `process` was not set/, here: always },
  // The programs are wrong.
  { program: 'linux_cgroups_pids', says: /pids limit is set correctly/, here: always },
  { program: 'linux_cgroups_relative_pids', says: /pids limit is set correctly/, here: always },
  { program: 'delete_resources', says: /pids limit is set correctly/, here: always },
  { program: 'misc_props', says: /unknown annotation key/, here: always },
  { program: 'mounts', says: /found in order/, here: always },
  { program: 'pidfile', says: /'--pid-file' option works/, here: always },
  { program: 'killsig', says: /MUST send the specified signal/, here: always },
  { program: 'process_rlimits', says: /soft RLIMIT_NOFILE/, here: always },
  // Refused, for what it would cost.
  { program: 'linux_ns_itype', says: /cannot run validation tests/, here: always },
  // This machine has not what they ask for.
  { program: 'process_capabilities', says: /expected \w+ capability CAP_\w+ set/, here: !hasAllCapabilities },
  { program: 'linux_cgroups_blkio', says: /leafWeight/, here: !existsSync('/sys/fs/cgroup/blkio/blkio.leaf_weight') },
  {
    program: 'linux_cgroups_relative_blkio',
    says: /exit status 1/,
    here: !existsSync('/sys/fs/cgroup/blkio/blkio.leaf_weight'),
  },
  { program: 'linux_cgroups_network', says: /net_cls/, here: !has('net_cls') },
  { program: 'linux_cgroups_relative_network', says: /exit status 1/, here: !has('net_cls') },
  { program: 'linux_cgroups_hugetlb', says: /relative to the cgroups mount point/, here: !has('hugetlb') },
  { program: 'linux_cgroups_relative_hugetlb', says: /hugetlb/, here: !has('hugetlb') },
  { program: 'linux_cgroups_memory', says: /memory kernel is set correctly/, here: !isKept(memory) },
  { program: 'linux_cgroups_relative_memory', says: /memory kernel is set correctly/, here: !isKept(memory) },
  { program: 'linux_mount_label', says: /context|invalid argument/, here: !existsSync('/sys/fs/selinux/enforce') },
  { program: 'linux_process_apparmor_profile', says: /AppArmor/, here: always },
];

/** Linux 5.16 and later take a limit of the kernel's memory and forget it; the file went in 6.10. */
function isKept(path: string): boolean {
  const [major, minor] = readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number);
  return existsSync(path) && (major! < 5 || (major === 5 && minor! < 16));
}
