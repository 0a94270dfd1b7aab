// Networks: what containers reach each other through, and the world. Here they are names, addresses and rows; what the
// kernel has of one is made when its first container starts.

import type { NetworkRow, PortRow } from '../native.ts';
import type { NetworkRequest } from './containers/options.ts';
import type { Engine } from './engine.ts';
import { ConflictError, InvalidArgumentError, KapselError, NotFoundError } from './errors.ts';
import type { NetworkHealth } from './networks/doctor.ts';
import {
  interfaceName,
  type NetworkDocument,
  type NetworkDriver,
  type NetworkOptions,
  understand,
} from './networks/options.ts';
import {
  addressIn,
  checkFree,
  checkSubnet,
  chooseSubnet,
  chooseSubnet6,
  hasFamily,
  type NetworkSubnet,
} from './networks/subnets.ts';
import type { PublishOptions } from './networks/opening.ts';
import type { PortMapping } from './networks/ports.ts';
import { randomHex } from './random.ts';

export type { NetworkOptions } from './networks/options.ts';
export type { Diagnosis, NetworkHealth } from './networks/doctor.ts';
export type { NetworkSubnet, SubnetOptions } from './networks/subnets.ts';

/** A container on a network. */
export interface NetworkMember {
  id: string;
  name: string;
  /** With the prefix's bits; none while it does not run. */
  addresses: string[];
}

export interface Network {
  /** 64 hexadecimal digits; of `host` and `none`, their name. */
  id: string;
  name: string;
  driver: NetworkDriver | 'host' | 'null';
  /** RFC 3339. */
  createdAt: string;
  subnets: readonly NetworkSubnet[];
  internal: boolean;
  ipv4: boolean;
  ipv6: boolean;
  /** The host's, where it has one. */
  interface: string | null;
  options: Readonly<Record<string, string>>;
  labels: Readonly<Record<string, string>>;
  containers: NetworkMember[];
}

/** How many rows are remembered. */
const mostKnown = 64;

/** What a container has on a network that it is put on. */
export type ConnectOptions = Omit<NetworkRequest, 'network'>;

/** The network that is always there. */
export const defaultNetwork = 'bridge';

/** Words of `--network` that are no network of ours. */
const reserved = new Set(['host', 'none', 'container', 'default', 'private', 'ns', 'slirp4netns', 'pasta']);

export class Networks {
  readonly #engine: Engine;
  readonly #known = new Map<string, NetworkRow>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** NETWORK_EXISTS, SUBNET_IN_USE, SUBNET_INVALID, NETWORK_OPTION_INVALID, NETWORK_NAME_INVALID. */
  create(name: string, options: NetworkOptions = {}): Promise<Network> {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name) || name.length > 255) {
      throw invalid(`invalid network name ${name}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed`);
    }
    if (reserved.has(name)) {
      throw new ConflictError('NETWORK_NAME_CONFLICT', `operation is not permitted on predefined ${name} network`);
    }
    return Promise.resolve(this.#describe(this.#insert(name, options)));
  }

  /** By name; the default one, `host` and `none` are always there. */
  list(): Promise<Network[]> {
    const rows = this.#engine.database.networks().map((row) => this.#describe(row));
    if (!rows.some(({ name }) => name === defaultNetwork)) rows.push(this.#describe(this.#default()));
    return Promise.resolve([...rows, pseudo('host', 'host'), pseudo('none', 'null')].toSorted(byName));
  }

  /** By name, id or the beginning of one. NETWORK_NOT_FOUND. */
  inspect(reference: string): Promise<Network> {
    if (reference === 'host') return Promise.resolve(pseudo('host', 'host'));
    if (reference === 'none') return Promise.resolve(pseudo('none', 'null'));
    return Promise.resolve(this.#describe(this.row(reference)));
  }

  /** NETWORK_NOT_FOUND, NETWORK_IN_USE. The predefined ones stay. With `force`, one that is not there is no error. */
  async remove(reference: string, { force = false }: { force?: boolean | undefined } = {}): Promise<void> {
    if (reserved.has(reference) || reference === defaultNetwork) {
      const message = `${reference} is a pre-defined network and cannot be removed`;
      throw new ConflictError('NETWORK_PREDEFINED', message);
    }
    const { reconcile } = await import('./containers/reap.ts');
    await reconcile(this.#engine);
    let row: NetworkRow;
    try {
      row = this.row(reference);
      this.#engine.database.removeNetwork(row.id);
    } catch (error) {
      if (force && error instanceof NotFoundError) return;
      throw error;
    }
    const { removeRemains } = await import('./networks/remains.ts');
    await removeRemains(this.#engine, row);
  }

  /** Removes those that no container is on. Resolves to their names. */
  async prune(isWanted: (network: Network) => boolean = () => true): Promise<string[]> {
    const removed: string[] = [];
    for (const network of await this.list()) {
      const isPredefined = network.name === defaultNetwork || reserved.has(network.name);
      if (isPredefined || network.containers.length > 0 || !isWanted(network)) continue;
      try {
        await this.remove(network.id);
        removed.push(network.name);
      } catch (error) {
        // Somebody has connected a container, or has removed it, meanwhile.
        if (!(error instanceof KapselError && /^NETWORK_(IN_USE|NOT_FOUND)$/.test(error.code))) throw error;
      }
    }
    return removed;
  }

  /** Puts a container, running or not, on a network. ENDPOINT_EXISTS, NETWORK_CONFLICT, ADDRESS_IN_USE. */
  async connect(reference: string, container: string, options: ConnectOptions = {}): Promise<void> {
    const { connect, ofHost } = await import('./networks/membership.ts');
    if (reference === 'host') throw new ConflictError('NETWORK_CONFLICT', ofHost);
    if (reference === 'none') {
      throw new ConflictError('NETWORK_CONFLICT', 'a container on the network none cannot be on it and others');
    }
    await connect(this.#engine, container, this.row(reference), options);
  }

  /** Takes a container, running or not, from a network. ENDPOINT_NOT_FOUND, which is no error with `force`. */
  async disconnect(reference: string, container: string, { force = false }: { force?: boolean | undefined } = {}) {
    const { disconnect, leaveNone, ofHost } = await import('./networks/membership.ts');
    if (reference === 'host') throw new ConflictError('NETWORK_CONFLICT', ofHost);
    try {
      if (reference === 'none') await leaveNone(this.#engine, container);
      else await disconnect(this.#engine, container, this.row(reference));
    } catch (error) {
      if (!(force && error instanceof NotFoundError)) throw error;
    }
  }

  /** Opens more ports of a container, running or not: `-p`'s notation. PORT_INVALID, PORT_IN_USE. */
  async publish(
    container: string,
    ports: readonly (string | PortMapping)[],
    options: PublishOptions = {},
  ): Promise<void> {
    const { publish } = await import('./networks/opening.ts');
    await publish(this.#engine, container, ports, options);
  }

  /** Closes ports of a container: by its own port, or in `-p`'s notation. PORT_NOT_FOUND. */
  async unpublish(container: string, ports: readonly (string | PortMapping)[]): Promise<void> {
    const { unpublish } = await import('./networks/opening.ts');
    await unpublish(this.#engine, container, ports);
  }

  /** The ports of the host that lead to a running container, by its own. CONTAINER_NOT_FOUND. */
  async ports(container: string): Promise<PortRow[]> {
    const { id } = await this.#engine.containers.get(container);
    return this.#engine.database.ports(id);
  }

  /** Puts back what somebody has flushed out of the packet filter. True where something was missing. */
  async repair(): Promise<boolean> {
    const { repair } = await import('./networks/repair.ts');
    return await repair(this.#engine);
  }

  /** What of this machine stands in the way of containers' networks, and what would help. Changes nothing. */
  async doctor(): Promise<NetworkHealth> {
    const { examine } = await import('./networks/doctor.ts');
    const { reconcile } = await import('./containers/reap.ts');
    await reconcile(this.#engine);
    return await examine(this.#engine);
  }

  /** For the engine's own rooms. The default network is made here. */
  row(reference: string): NetworkRow {
    return reference === defaultNetwork ? this.#default() : this.#engine.database.network(reference);
  }

  /** By the whole id of one that somebody is on: a row never changes, and no id is given twice. */
  ofEndpoint({ networkId }: { networkId: string }): NetworkRow {
    const known = this.#known.get(networkId);
    if (known) return known;
    const row = this.#engine.database.network(networkId);
    if (this.#known.size === mostKnown) this.#known.clear();
    this.#known.set(networkId, row);
    return row;
  }

  #default(): NetworkRow {
    const { database } = this.#engine;
    try {
      return database.network(defaultNetwork);
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
    try {
      return this.#insert(defaultNetwork, { interface: 'kapsel0' });
    } catch (error) {
      // Another process may have made it meanwhile.
      const made = database.networks().find(({ name }) => name === defaultNetwork);
      if (made) return made;
      throw error;
    }
  }

  #insert(name: string, given: NetworkOptions): NetworkRow {
    const { driver = 'bridge', ipv4 = true, ipv6 = false, internal = false, options = {}, labels = {} } = given;
    if (driver !== 'bridge' && driver !== 'macvlan') {
      throw invalid(`unknown network driver ${driver}: give bridge or macvlan`);
    }
    const { interface: named, ...understood } = understand(driver, options);
    const { database } = this.#engine;
    const taken = database
      .networks()
      .flatMap(({ name, document }) => (document as NetworkDocument).subnets.map(({ subnet }) => ({ name, subnet })));
    const subnets = (given.subnets ?? []).map(checkSubnet);
    for (const [at, subnet] of subnets.entries()) {
      checkFree(subnet, [...taken, ...subnets.slice(0, at).map(({ subnet }) => ({ name, subnet }))]);
    }
    const has = (family: 4 | 6) => hasFamily(subnets, family);
    if (has(6) && given.ipv6 === false) throw invalid('a network without IPv6 cannot have an IPv6 subnet');
    if (has(4) && !ipv4) throw invalid('a network without IPv4 cannot have an IPv4 subnet');
    if (!ipv4 && !ipv6 && !has(6)) throw invalid('IPv4 or IPv6 must be enabled');
    if (ipv4 && !has(4)) subnets.unshift(chooseSubnet(taken.map(({ subnet }) => subnet)));
    if (ipv6 && !has(6))
      subnets.push(
        chooseSubnet6(
          taken.map(({ subnet }) => subnet),
          this.#engine.root,
        ),
      );
    const id = randomHex(32);
    const document: NetworkDocument = {
      subnets,
      ipv6: ipv6 || has(6),
      internal,
      options: { ...options },
      ...understood,
    };
    const chosen = given.interface === undefined ? named : interfaceName(given.interface);
    const device = driver === 'bridge' ? (chosen ?? `kbr-${id.slice(0, 11)}`) : null;
    database.insertNetwork({ id, name, driver, interface: device, labels: { ...labels }, document });
    return database.network(id);
  }

  #describe(row: NetworkRow): Network {
    const { id, name, driver, interface: device, labels, createdAt } = row;
    const { subnets, internal, ipv6, options } = row.document as NetworkDocument;
    const members = this.#engine.database.endpointsOfNetwork(id).map(({ containerId, leases }) => ({
      id: containerId,
      name: this.#engine.database.container(containerId).name,
      addresses: Object.entries(leases).map(([at, number]) => addressIn(subnets[Number(at)] as NetworkSubnet, number)),
    }));
    return {
      id,
      name,
      driver: driver as NetworkDriver,
      createdAt,
      subnets,
      internal,
      ipv4: hasFamily(subnets, 4),
      ipv6,
      interface: device,
      options,
      labels,
      containers: members,
    };
  }
}

function pseudo(name: string, driver: 'host' | 'null'): Network {
  const nothing = { subnets: [], internal: false, ipv4: false, ipv6: false, interface: null, options: {}, labels: {} };
  return { id: name, name, driver, createdAt: '1970-01-01T00:00:00.000000000Z', ...nothing, containers: [] };
}

function byName(one: Network, other: Network): number {
  return one.name < other.name ? -1 : 1;
}

function invalid(message: string): InvalidArgumentError {
  return new InvalidArgumentError('NETWORK_NAME_INVALID', message, { exitCode: 1 });
}
