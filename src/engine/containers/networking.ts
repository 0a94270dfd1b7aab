// What a container wants of networks: the options, understood by Docker's rules. Pure; asks no network.

import { ConflictError, InvalidArgumentError } from '../errors.ts';
import { formatSubnet, parseAddress, parseSubnet } from '../networks/addresses.ts';
import { interfaceName } from '../networks/options.ts';
import { parsePublish, type PortMapping } from '../networks/ports.ts';
import { parseRate, rateHelp } from '../networks/rate.ts';
import { commaSeparated } from './notation/mounts.ts';
import { hostName } from './notation/names.ts';
import type { CreateOptions, NetworkRequest } from './options.ts';

/** `bridge`: on networks of this engine, those of `networks`. `container:…`: in another container's. */
export type NetworkMode = 'none' | 'host' | 'bridge' | `container:${string}` | `ns:${string}`;

export interface NetworkSettings {
  network: NetworkMode;
  networks: readonly NetworkRequest[];
  ports: readonly PortMapping[];
  publishAll: boolean;
  /** What it may reach; everything where left out. */
  egress?: EgressSettings;
  dns: { servers: readonly string[]; search: readonly string[]; options: readonly string[] };
  /** Name and address, in the order of /etc/hosts; `host-gateway` is the host as the container reaches it. */
  addHosts: readonly (readonly [name: string, address: string])[];
}

/** Deny by default: what is allowed. */
export interface EgressSettings {
  /** Blocks of addresses. */
  allowed: readonly string[];
  /** Names, `*.example.com` too. With any, only these may be asked for. */
  names: readonly string[];
}

/** `usual`: the network of those that name none. */
export function resolveNetwork(options: CreateOptions, usual: string): NetworkSettings {
  const given = (options.network === undefined ? [needed(usual, options)] : [options.network].flat()).map((each) =>
    each === 'default' ? usual : each,
  );
  const requests = given.map((each) => (typeof each === 'string' ? parseNetwork(each) : each));
  const mode = modeOf(requests);
  const networks = mode === 'bridge' ? addOns(requests, options) : [];
  if (mode !== 'bridge') refuseAddOns(mode, options);
  const ports = (options.publish ?? []).flatMap((each) => (typeof each === 'string' ? parsePublish(each) : [each]));
  const publishAll = options.publishAll ?? false;
  if ((ports.length > 0 || publishAll) && mode !== 'bridge' && mode !== 'host') {
    throw new ConflictError('PORTS_CONFLICT', `conflicting options: port publishing and the network mode ${mode}`, {
      exitCode: 125,
      hint: 'give --network bridge, or the name of a network',
    });
  }
  return {
    network: mode,
    networks,
    // On the host's network the program listens on the host itself; Docker discards them too.
    ports: mode === 'host' ? [] : ports,
    publishAll: mode !== 'host' && publishAll,
    ...egress(options.egress, mode),
    dns: {
      servers: (options.dns ?? []).map((server) => checkAddress(server, '--dns')),
      search: options.dnsSearch ?? [],
      options: options.dnsOptions ?? [],
    },
    addHosts: (options.addHosts ?? []).map(addHost),
  };
}

/** A port to publish, or a rule, needs a network. */
function needed(usual: string, { publish = [], publishAll = false, egress: rules = [] }: CreateOptions): string {
  const asks = publish.length > 0 || publishAll || rules.length > 0;
  return usual === 'none' && asks ? 'bridge' : usual;
}

/** `NAME`, or Docker's `name=NAME,alias=…,ip=…,ip6=…,mac-address=…`. */
function parseNetwork(text: string): NetworkRequest {
  if (!text.includes('=')) return { network: text };
  const request: { -readonly [K in keyof NetworkRequest]: NetworkRequest[K] } = { network: '' };
  const aliases: string[] = [];
  for (const field of commaSeparated(text)) {
    const [name = '', value = ''] = field.split(/=(.*)/s);
    if (name === 'name') request.network = value;
    else if (name === 'alias') aliases.push(value);
    else if (name === 'ip') request.ip = value;
    else if (name === 'ip6') request.ip6 = value;
    else if (name === 'mac-address') request.macAddress = value;
    else if (name === 'interface-name') request.interface = value;
    else if (name === 'rate') request.rate = value;
    else throw invalid(`invalid field key ${name} in --network ${text}`);
  }
  if (request.network === '') throw invalid(`--network ${text}: name= is missing`);
  return aliases.length > 0 ? { ...request, aliases } : request;
}

function modeOf(requests: readonly NetworkRequest[]): NetworkMode {
  const [first, ...others] = requests.map(({ network }) => network);
  if (first === undefined || first === '') return 'none';
  const special = (name: string) => name === 'none' || name === 'host' || /^(container|ns):/.test(name);
  const odd = others.find(special) ?? (others.length > 0 && special(first) ? first : undefined);
  if (odd !== undefined) {
    throw new ConflictError('NETWORK_CONFLICT', `conflicting options: network ${odd} and other networks`, {
      exitCode: 125,
    });
  }
  if (!special(first)) return 'bridge';
  if (first === 'container:' || first === 'ns:') throw invalid(`--network ${first}: the rest is missing`);
  return first as NetworkMode;
}

/** The options that are about the first network, where there is but one way to say it. */
function addOns(requests: readonly NetworkRequest[], options: CreateOptions): NetworkRequest[] {
  const { networkAliases = [], ip, ip6, macAddress, rate } = options;
  return requests.map((request, at) =>
    checkRequest({
      ...request,
      aliases: [...(request.aliases ?? []), ...(at === 0 ? networkAliases : [])],
      ...(at === 0 && ip !== undefined && { ip }),
      ...(at === 0 && ip6 !== undefined && { ip6 }),
      ...(at === 0 && macAddress !== undefined && { macAddress }),
      ...(at === 0 && rate !== undefined && { rate }),
    }),
  );
}

/** As far as it can be told without the network. NETWORK_INVALID. */
export function checkRequest(request: NetworkRequest): NetworkRequest {
  const { aliases = [], ip, ip6, macAddress, interface: name, rate } = request;
  if (ip !== undefined && parseAddress(ip)?.family !== 4) throw invalid(`invalid IPv4 address: ${ip}`);
  if (ip6 !== undefined && parseAddress(ip6)?.family !== 6) throw invalid(`invalid IPv6 address: ${ip6}`);
  if (macAddress !== undefined) checkMac(macAddress);
  if (name !== undefined) interfaceName(name);
  if (rate !== undefined && parseRate(rate) === undefined) throw invalid(`invalid rate ${rate}: ${rateHelp}`);
  return { ...request, aliases: aliases.map((alias) => hostName(alias)) };
}

/** `deny`, or `allow=` with what is allowed; more than once, they add up. */
function egress(given: readonly string[] = [], mode: NetworkMode): { egress?: EgressSettings } {
  if (given.length === 0) return {};
  if (mode !== 'bridge') {
    throw new ConflictError('NETWORK_CONFLICT', `conflicting options: --egress and the network mode ${mode}`, {
      exitCode: 125,
      hint: 'name a network with --network',
    });
  }
  const allowed: string[] = [];
  const names: string[] = [];
  for (const rule of given) {
    if (rule === 'deny') continue;
    const [, list] = /^allow=(.+)$/.exec(rule) ?? [];
    if (list === undefined) throw invalid(`invalid --egress ${rule}: give deny, or allow=CIDR,NAME…`);
    for (const each of list.split(',')) {
      const address = parseAddress(each);
      const block = parseSubnet(address ? `${each}/${address.family === 6 ? 128 : 32}` : each);
      if (block) allowed.push(formatSubnet(block));
      else if (/^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i.test(each)) names.push(each.toLowerCase());
      else throw invalid(`invalid --egress ${rule}: ${each} is neither an address, nor a block, nor a name`);
    }
  }
  return { egress: { allowed, names } };
}

function refuseAddOns(mode: NetworkMode, options: CreateOptions): void {
  const { networkAliases = [], ip, ip6, macAddress, rate } = options;
  const asked = [networkAliases.length > 0 && 'a network alias', ip && 'an IP address', ip6 && 'an IP address'];
  const what = [...asked, macAddress && 'a MAC address', rate && 'a rate'].find(Boolean);
  if (!what) return;
  throw new ConflictError('NETWORK_CONFLICT', `conflicting options: ${what} and the network mode ${mode}`, {
    exitCode: 125,
    hint: 'name a network with --network',
  });
}

function checkMac(text: string): void {
  const isUnicast = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i.test(text);
  if (!isUnicast)
    throw invalid(`${text} is not a valid mac address: give six bytes, the first even: 02:42:ac:11:00:02`);
}

/** `NAME:ADDRESS`, Docker's newer `NAME=ADDRESS`. */
function addHost(text: string): readonly [string, string] {
  const [, name = '', address = ''] = /^([^:=]+)[:=](.+)$/.exec(text) ?? [];
  const bare = address.replace(/^\[(.*)\]$/, '$1');
  if (name === '' || (bare !== 'host-gateway' && !parseAddress(bare))) {
    throw invalid(`invalid IP address in add-host: "${text}": give NAME:ADDRESS or NAME:host-gateway`);
  }
  return [name, bare];
}

function checkAddress(text: string, flag: string): string {
  if (!parseAddress(text)) throw invalid(`${flag}: invalid IP address: ${text}`);
  return text;
}

function invalid(message: string): InvalidArgumentError {
  return new InvalidArgumentError('NETWORK_INVALID', message);
}
