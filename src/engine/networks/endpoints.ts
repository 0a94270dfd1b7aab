// Which networks a container is on, as rows: what was asked for, and the interface that stands for it inside, which keeps its
// name whatever other networks come and go.

import type { NetworkRow } from '../../native.ts';
import type { NetworkRequest } from '../containers/options.ts';
import type { Engine } from '../engine.ts';
import type { NetworkDocument } from './options.ts';

/** For a container that is about to be recorded. The default network is made here. NETWORK_NOT_FOUND. */
export function endpointsFor(engine: Engine, requests: readonly NetworkRequest[]): [id: string, NetworkRequest][] {
  const taken = requests.flatMap(({ interface: name }) => name ?? []);
  return requests.map((request) => {
    const row = engine.networks.row(request.network);
    const name = request.interface ?? freeInterface(row, taken);
    taken.push(name);
    return [row.id, { ...request, interface: name }];
  });
}

/** The first that is not `taken`: eth0, eth1, … */
export function freeInterface({ document }: NetworkRow, taken: readonly string[]): string {
  const { prefix = 'eth' } = document as NetworkDocument;
  for (let number = 0; ; number++) {
    const name = `${prefix}${number}`;
    if (!taken.includes(name)) return name;
  }
}
