// Which sysctls a container may set: those that belong to a namespace of its own, by an allow-list (CVE-2022-0811).

import { InvalidArgumentError } from '../errors.ts';
import type { NetworkMode } from './networking.ts';

const ofIpc = new Set(
  'kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni kernel.shm_rmid_forced'.split(
    ' ',
  ),
);

/** Names with dots, checked against the namespaces the container will have. */
export function checkSysctls(
  given: Readonly<Record<string, string>>,
  network: NetworkMode,
  ipc: 'private' | 'host' | 'none',
): Record<string, string> {
  const checked: Record<string, string> = {};
  for (const [name, value] of Object.entries(given)) {
    const plain = name.trim();
    const complain = (why: string) => new InvalidArgumentError('SYSCTL_INVALID', `sysctl '${name}=${value}' ${why}`);
    if (!/^[a-zA-Z0-9_-]+([./][a-zA-Z0-9_@-]+)+$/.test(plain)) throw complain('has no valid name');
    if (/[\n\0]/.test(value)) throw complain('has a value of more than one line');
    if (ofIpc.has(plain) || plain.startsWith('fs.mqueue.')) {
      if (ipc === 'host') throw complain("is not allowed with --ipc host: it would change the machine's");
    } else if (plain.startsWith('net.')) {
      if (network === 'host') throw complain("is not allowed with --network host: it would change the machine's");
    } else {
      throw complain('is not whitelisted: it belongs to no namespace; known are net.*, fs.mqueue.* and those of IPC');
    }
    checked[plain] = value;
  }
  return checked;
}
