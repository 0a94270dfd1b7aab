// Which capabilities a container holds: Docker's default set, what `--cap-add` and `--cap-drop` make of it.

import { readFileSync } from 'node:fs';

import { InvalidArgumentError, UnsupportedError } from '../errors.ts';

/** Docker's default set, in the order of the kernel's numbers. */
export const defaultCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SYS_CHROOT',
  'CAP_MKNOD',
  'CAP_AUDIT_WRITE',
  'CAP_SETFCAP',
];

/** Every capability of Linux 6.x, by its number. */
export const allCapabilities: readonly string[] = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE ' +
  'MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);

/**
 * Docker's rule: `--cap-add ALL` is everything but what is dropped, `--cap-drop ALL` is only what is added, and otherwise
 * an added name wins over a dropped one. Privileged is everything. `available` is asked only where more than the default is wanted.
 */
export function capabilities(
  add: readonly string[] = [],
  drop: readonly string[] = [],
  privileged = false,
  available: () => ReadonlySet<string> = boundingSet,
): string[] {
  const added = add.map((name) => canonical(name, '--cap-add'));
  const dropped = new Set(drop.map((name) => canonical(name, '--cap-drop')));
  if (privileged || added.includes('ALL')) {
    const able = available();
    return allCapabilities.filter((name) => able.has(name) && (privileged || !dropped.has(name)));
  }
  const beyond = added.filter((name) => !defaultCapabilities.includes(name));
  if (beyond.length > 0) {
    const able = available();
    for (const name of beyond) {
      if (!able.has(name)) {
        throw new UnsupportedError('CAPABILITY_UNSUPPORTED', `--cap-add ${name}: this process itself may not have it`, {
          exitCode: 125,
          hint: 'kapsel was started with a bounding set that lacks it; leave it out',
        });
      }
    }
  }
  const base = dropped.has('ALL') ? [] : defaultCapabilities.filter((name) => !dropped.has(name));
  const held = new Set([...base, ...added]);
  return allCapabilities.filter((name) => held.has(name));
}

/** What this process, and so any it starts, can ever have: capabilities(7). */
function boundingSet(): ReadonlySet<string> {
  const [, hex = '0'] = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  const bits = BigInt(`0x${hex}`);
  return new Set(allCapabilities.filter((_, number) => (bits >> BigInt(number)) & 1n));
}

function canonical(name: string, option: string): string {
  const upper = name.trim().toUpperCase();
  if (upper === 'ALL') return upper;
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (allCapabilities.includes(full)) return full;
  throw new InvalidArgumentError(
    'CAPABILITY_INVALID',
    `invalid ${option}: unknown capability: ${JSON.stringify(name)}`,
  );
}
