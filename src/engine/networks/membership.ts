// Containers and networks joined and parted, ports opened and closed, whether a container runs or not. Loaded when it is
// asked for.

import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { close, type ContainerRow, type NetworkRow } from '../../native.ts';
import { Connection } from '../containers/connection.ts';
import { answerTime, MonitorUnresponsiveError } from '../containers/exit.ts';
import { checkRequest } from '../containers/networking.ts';
import type { NetworkRequest } from '../containers/options.ts';
import { containerPaths } from '../containers/paths.ts';
import { prepareFiles } from '../containers/prepare.ts';
import { isAlive, isEnded, reachMonitor } from '../containers/reach.ts';
import { reconcile } from '../containers/reap.ts';
import type { Settings } from '../containers/settings.ts';
import { claimLock, letGo } from '../containers/start.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, NotFoundError } from '../errors.ts';
import { freeInterface } from './endpoints.ts';
import { lockNetworks } from './lock.ts';
import { repair } from './repair.ts';
import { checkFamilies, nameFile, placesOf, want, wire } from './wiring.ts';

/** Makes a running container's networks what its rows say, but for one that it is about to leave. */
type Rewire = (settings: Settings, without?: string) => Promise<void>;

/** ENDPOINT_EXISTS, NETWORK_CONFLICT, ADDRESS_INVALID, ADDRESS_IN_USE. Nothing has changed where it fails. */
export async function connect(
  engine: Engine,
  container: string,
  network: NetworkRow,
  options: Omit<NetworkRequest, 'network'>,
): Promise<void> {
  await exclusively(engine, container, async (row, rewire) => {
    const settings = row.document as Settings;
    refuseModes(row, settings);
    const places = placesOf(engine, row.id);
    if (places.some((place) => place.row.id === network.id)) {
      const message = `endpoint with name ${row.name} already exists in network ${network.name}`;
      throw new ConflictError('ENDPOINT_EXISTS', message);
    }
    const asked = checkRequest({ ...options, network: network.name });
    const taken = places.flatMap(({ request }) => request.interface ?? []);
    if (asked.interface !== undefined && taken.includes(asked.interface)) {
      throw new ConflictError('INTERFACE_IN_USE', `container ${row.name} has an interface ${asked.interface} already`);
    }
    const request = { ...asked, interface: asked.interface ?? freeInterface(network, taken) };
    const document = network.document as Parameters<typeof want>[0]['document'];
    checkFamilies({ row: network, document, request });
    for (const at of document.subnets.keys()) want({ row: network, document, request }, at);
    engine.database.insertEndpoint({ networkId: network.id, containerId: row.id, document: request });
    try {
      await rewire(settings);
    } catch (error) {
      engine.database.removeEndpoint(network.id, row.id);
      throw error;
    }
  });
}

/** ENDPOINT_NOT_FOUND, NETWORK_CONFLICT. */
export async function disconnect(engine: Engine, container: string, network: NetworkRow): Promise<void> {
  await exclusively(engine, container, async (row, rewire) => {
    const settings = row.document as Settings;
    if (!placesOf(engine, row.id).some((place) => place.row.id === network.id)) {
      throw new NotFoundError(
        'ENDPOINT_NOT_FOUND',
        `container ${row.name} is not connected to network ${network.name}`,
      );
    }
    // Its addresses are its own until nothing answers there any more.
    await rewire(settings, network.id);
    // A monitor that was killed meanwhile has left its name, which nobody would look for without the endpoint.
    rmSync(nameFile(engine, network.id, row.id), { force: true });
    engine.database.removeEndpoint(network.id, row.id);
  });
}

/** A container that was to have no network may come to some. */
export async function leaveNone(engine: Engine, container: string): Promise<void> {
  await exclusively(engine, container, async (row, rewire) => {
    const settings = row.document as Settings;
    if (settings.network !== 'none') {
      throw new NotFoundError('ENDPOINT_NOT_FOUND', `container ${row.name} is not connected to network none`);
    }
    const changed: Settings = { ...settings, network: 'bridge', networks: [] };
    await rewire(changed);
    engine.database.updateDocument(row.id, changed);
  });
}

function refuseModes({ name }: ContainerRow, { network }: Settings): void {
  if (network === 'bridge') return;
  const conflict = (message: string, hint?: string) =>
    new ConflictError('NETWORK_CONFLICT', message, hint === undefined ? {} : { hint });
  if (network === 'none') {
    throw conflict(
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
      `first kapsel network disconnect none ${name}`,
    );
  }
  if (network === 'host') throw conflict(ofHost);
  throw conflict(
    'container sharing network namespace with another container or host cannot be connected to any other network',
  );
}

export const ofHost = 'container cannot be disconnected from host network or connected to host network';

/** Does the work while nobody else starts the container or changes its networks. CONTAINER_NOT_FOUND. */
export async function exclusively(
  engine: Engine,
  container: string,
  work: (row: ContainerRow, rewire: Rewire) => Promise<void>,
): Promise<void> {
  await reconcile(engine);
  const row = engine.database.container(container);
  if (!isAlive(row)) {
    const { paths, lock } = claimLock(engine, row.id);
    try {
      await work(engine.database.container(row.id), () => Promise.resolve());
    } finally {
      letGo(paths, lock);
    }
    return;
  }
  const lock = await lockAmongOthers(engine, row.id);
  try {
    const now = engine.database.container(row.id);
    await work(now, (settings, without) => rewire(engine, now, lock, settings, without));
  } finally {
    close(lock);
  }
}

/** Others may be of this process, and must go on meanwhile. */
async function lockAmongOthers(engine: Engine, id: string): Promise<number> {
  for (const begun = performance.now(); performance.now() - begun < answerTime; await sleep(5)) {
    const lock = lockNetworks(engine, id);
    if (lock !== undefined) return lock;
  }
  throw new MonitorUnresponsiveError();
}

async function rewire(
  engine: Engine,
  row: ContainerRow,
  lock: number,
  settings: Settings,
  without?: string,
): Promise<void> {
  const fd = await reachMonitor(engine, row.id);
  // It has ended meanwhile, and its networks with it.
  if (fd === undefined) return;
  const connection = new Connection(fd);
  try {
    await repair(engine, { id: row.id, lock });
    const network = wire(engine, row, settings, without);
    await connection.request({ request: 'network', network });
    prepareFiles(settings, containerPaths(engine.root, engine.runRoot, row.id), undefined, network);
  } catch (error) {
    if (!isEnded(error)) throw error;
  } finally {
    connection.close();
  }
}
