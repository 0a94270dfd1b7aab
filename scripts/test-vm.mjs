// `npm run test:vm`: the kernel's half of the tests on a kernel of its own, Debian's, in a virtual machine that emulates its
// processor (no /dev/kvm is needed): cgroup v2 alone and AppArmor, then cgroup v1 alone. x86-64, Debian, root.
// The first run makes a Debian root below ~/.cache/kapsel-test (a minute or two); every run takes some minutes and ends
// with `N passed, N failed`.
// `npm run test:vm -- WORD…` runs only the programs whose name contains one of the words: `npm run test:vm -- cgroups oci`.

import { become, debianPackages, setup } from './setup.mjs';

debianPackages([
  { package: 'qemu-system-x86', program: 'qemu-system-x86_64', why: 'the tests run in its virtual machine' },
  { package: 'mmdebstrap', program: 'mmdebstrap', why: "the virtual machine's Debian is made with it" },
  { package: 'e2fsprogs', program: 'mke2fs', why: "the virtual machine's disks are made with it" },
]);
setup();
become(['test/vm/run.ts', ...process.argv.slice(2)]);
