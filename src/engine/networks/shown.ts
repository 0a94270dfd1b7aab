// A container's networks and ports as Docker's `inspect` shows them.

import type { PortRow } from '../../native.ts';
import type { NetworkRequest } from '../containers/options.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import type { NetworkDocument } from './options.ts';
import { addressIn, type NetworkSubnet } from './subnets.ts';
import { macOf } from './wiring.ts';

export function networkSettings(engine: Engine, id: string, settings: Settings) {
  const networks = settings.network === 'bridge' ? attachments(engine, id) : { [settings.network]: nowhere };
  const [first = nowhere] = Object.values(networks);
  const { IPAddress, IPPrefixLen, Gateway, GlobalIPv6Address, GlobalIPv6PrefixLen, IPv6Gateway, MacAddress } = first;
  return {
    Ports: ports(engine.database.ports(id), settings.exposedPorts),
    IPAddress,
    IPPrefixLen,
    Gateway,
    GlobalIPv6Address,
    GlobalIPv6PrefixLen,
    IPv6Gateway,
    MacAddress,
    Networks: networks,
  };
}

const nowhere = {
  NetworkID: '',
  Aliases: null as string[] | null,
  MacAddress: '',
  IPAddress: '',
  IPPrefixLen: 0,
  Gateway: '',
  GlobalIPv6Address: '',
  GlobalIPv6PrefixLen: 0,
  IPv6Gateway: '',
};

function attachments(engine: Engine, id: string): Record<string, typeof nowhere> {
  const found: Record<string, typeof nowhere> = {};
  for (const { networkId, document, leases } of engine.database.endpointsOfContainer(id)) {
    const row = engine.database.network(networkId);
    const { subnets } = row.document as NetworkDocument;
    const request = document as NetworkRequest;
    const place = { ...nowhere, NetworkID: networkId, Aliases: [...(request.aliases ?? [])] };
    for (const [at, number] of Object.entries(leases)) {
      const subnet = subnets[Number(at)] as NetworkSubnet;
      const [address = '', bits = ''] = addressIn(subnet, number).split('/');
      Object.assign(
        place,
        address.includes(':')
          ? { GlobalIPv6Address: address, GlobalIPv6PrefixLen: Number(bits), IPv6Gateway: subnet.gateway }
          : { IPAddress: address, IPPrefixLen: Number(bits), Gateway: subnet.gateway },
        { MacAddress: macOf(networkId, request, Object.values(leases)) },
      );
    }
    found[row.name] = place;
  }
  return found;
}

function ports(
  rows: readonly PortRow[],
  exposed: readonly string[],
): Record<string, { HostIp: string; HostPort: string }[] | null> {
  const found: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  for (const port of exposed) found[port] = null;
  for (const { protocol, address, port, containerPort } of rows) {
    (found[`${containerPort}/${protocol}`] ??= []).push({ HostIp: address, HostPort: String(port) });
  }
  return found;
}
