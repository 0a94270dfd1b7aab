// Whom published ports are open to: nobody, which is said every time, or the whole network, which is often a surprise and is said
// once in the life of an engine's root.

import { closeSync, openSync } from 'node:fs';
import type { NetworkRow } from '../../native.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import type { NetworkDocument } from './options.ts';
import { mappingsOf } from './publishing.ts';
import { hasDoor } from './wiring.ts';

/** Roots of which it is known here that it has been said. */
const said = new Set<string>();

/**
 * What there is to know of a container's ports: that there are none where it is, and, the first time that one is published at
 * more than the host's loopback, that it is open.
 */
export function portWarnings(engine: Engine, settings: Settings, on: () => readonly NetworkRow[]): string[] {
  const mappings = mappingsOf(settings);
  const networks = mappings.length === 0 ? [] : on();
  if (networks.length === 0) return [];
  const door = networks.find(hasDoor);
  if (door === undefined) {
    const which = networks.map(({ name, driver }) => `${name} is ${driver === 'bridge' ? 'internal' : driver}`);
    return [`no port is published before the container is on a bridge network that leads out: ${which.join(', ')}`];
  }
  if (said.has(engine.root)) return [];
  const usual = (door.document as NetworkDocument).hostAddress ?? engine.publishDefault;
  const open = mappings.find(({ hostAddress = usual }) => !isLoopback(hostAddress));
  if (!open || !isFirst(engine.root)) return [];
  const { containerPort, protocol, hostAddress = usual } = open;
  const where = hostAddress === undefined ? 'every address of this machine' : hostAddress;
  return [
    `port ${containerPort}/${protocol} is published at ${where}, for everybody who reaches it; for this machine alone, ` +
      'write -p 127.0.0.1:…, or give --publish-default 127.0.0.1 (this is said only once)',
  ];
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && (address.startsWith('127.') || address === '::1');
}

/** Whoever makes the file is the first. */
function isFirst(root: string): boolean {
  said.add(root);
  try {
    closeSync(openSync(`${root}/published`, 'wx', 0o600));
    return true;
  } catch {
    return false;
  }
}
