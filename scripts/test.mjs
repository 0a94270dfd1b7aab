// `npm test`: sets everything up, brings the real parts the tests use, and runs every test.
// `npm test -- PATTERN` runs only the files whose path contains PATTERN.

import { become, debianPackages, setup } from './setup.mjs';

debianPackages([
  { package: 'docker-registry', program: 'docker-registry', why: 'the tests pull from a real registry' },
  { package: 'skopeo', program: 'skopeo', why: 'the tests push their images with it' },
  { package: 'umoci', program: 'umoci', why: 'the tests assemble their images with it' },
  { package: 'mmdebstrap', program: 'mmdebstrap', why: 'the tests make a Debian image with it' },
  { package: 'busybox-static', program: 'busybox', why: 'the smallest test image is made of it' },
  { package: 'libseccomp-dev', file: '/usr/include/seccomp.h', why: 'the seccomp compiler is compared with it' },
  { package: 'libarchive-tools', program: 'bsdtar', why: 'the tests unpack archives that bsdtar wrote' },
  { package: 'uidmap', program: 'newuidmap', why: 'the rootless tests map subordinate ids with it' },
  { package: 'python3', file: '/usr/bin/python3', why: 'the tests unpack what Python wrote, and checkpoint it' },
  { package: 'procps', program: 'ps', why: 'the default image has it' },
  { package: 'zstd', program: 'zstd', why: 'the tests compress layers with it' },
  { package: 'openssl', program: 'openssl', why: 'the tests make a registry a certificate with it' },
  { package: 'strace', program: 'strace', why: 'the tests count the programs that are started with it' },
  { package: 'jq', program: 'jq', why: 'the tests edit image configs with it' },
  { package: 'iproute2', program: 'ip', why: 'the default image has it' },
  { package: 'nftables', file: '/usr/sbin/nft', why: 'the packet filter is compared with what it makes' },
  { package: 'passt', program: 'pasta', why: 'an ordinary user’s networks lead out by it' },
  {
    package: 'slirp4netns',
    program: 'slirp4netns',
    why: 'an ordinary user’s networks lead out by it where pasta is missing',
  },
  { package: 'iputils-ping', program: 'ping', why: 'the tests ping containers with it' },
  { package: 'bind9-dnsutils', program: 'dig', why: 'the tests ask for names with it' },
  { package: 'curl', program: 'curl', why: 'the tests reach containers with it' },
  { package: 'iperf3', program: 'iperf3', why: 'the tests send much with it' },
  { package: 'tcpdump', program: 'tcpdump', why: 'the tests look at packets with it' },
  { package: 'containerd', file: '/usr/bin/ctr', why: 'the tests run containerd on the runtime' },
  { package: 'docker.io', file: '/usr/sbin/dockerd', why: 'the tests run Docker and a Swarm on the runtime' },
  { package: 'podman', file: '/usr/bin/podman', why: 'the tests run podman on the runtime' },
  { package: 'libcap2-bin', program: 'setcap', why: 'the tests give a file of an image capabilities with it' },
  { package: 'util-linux', program: 'setpriv', why: 'the rootless tests become an ordinary user with it' },
]);
setup();
become(['test/run.ts', ...process.argv.slice(2)]);
