// A network as `docker network inspect` has it.

import type { Network } from '../networks.ts';

export function inspection(network: Network): object {
  return {
    Name: network.name,
    Id: network.id,
    Created: network.createdAt,
    Scope: 'local',
    Driver: network.driver,
    EnableIPv4: network.ipv4,
    EnableIPv6: network.ipv6,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: network.subnets.map(({ subnet, gateway, range }) => ({
        Subnet: subnet,
        ...(range !== undefined && { IPRange: range }),
        Gateway: gateway,
      })),
    },
    Internal: network.internal,
    Attachable: false,
    Ingress: false,
    Interface: network.interface,
    Containers: Object.fromEntries(
      network.containers.map(({ id, name, addresses }) => [
        id,
        {
          Name: name,
          IPv4Address: addresses.find((address) => !address.includes(':')) ?? '',
          IPv6Address: addresses.find((address) => address.includes(':')) ?? '',
        },
      ]),
    ),
    Options: network.options,
    Labels: network.labels,
  };
}
