// Docker's notation for published ports, `-p`, as one port each. Asks nobody whether a port is free.

import { InvalidArgumentError } from '../errors.ts';
import { parseAddress } from './addresses.ts';

export type Protocol = 'tcp' | 'udp' | 'sctp';

/** Ports of the host that lead to one of the container. */
export interface PortMapping {
  protocol: Protocol;
  containerPort: number;
  /** The host's address; every one of both families where left out. */
  hostAddress?: string | undefined;
  /** The first that may be taken; 0: any free one. */
  hostPort: number;
  /** The last that may be taken, where it is one of several. */
  hostPortEnd?: number | undefined;
}

const protocols = new Set(['tcp', 'udp', 'sctp']);

/** `[[ADDRESS:][HOST_PORT[-END]]:]PORT[-END][/PROTOCOL]` */
export function parsePublish(text: string): PortMapping[] {
  const complain = (why: string) => new InvalidArgumentError('PORT_INVALID', `invalid publish '${text}': ${why}`);
  const [ports = '', protocol = 'tcp', ...more] = text.split('/');
  const name = protocol.toLowerCase();
  if (more.length > 0 || !protocols.has(name)) throw complain(`unknown protocol ${protocol}: give tcp, udp or sctp`);
  const [, bracketed, plain, host, container = ''] =
    /^(?:(?:\[([^\]]*)\]|([^:[\]]*)):)??(?:([^:]*):)?([^:]+)$/.exec(ports) ?? [];
  if (container === '') throw complain('give [[ADDRESS:][HOST_PORT]:]CONTAINER_PORT[/PROTOCOL]');
  const address = bracketed ?? plain;
  if (bracketed !== undefined && parseAddress(bracketed)?.family !== 6)
    throw complain(`${bracketed} is no IPv6 address`);
  if (address !== undefined && address !== '' && !parseAddress(address)) throw complain(`${address} is no IP address`);
  const inside = parseRange(container);
  if (!inside) throw complain(`${container} is no port or range of ports (1 to 65535)`);
  const outside = host === undefined || host === '' ? undefined : parseRange(host, 0);
  if (host !== undefined && host !== '' && !outside) throw complain(`${host} is no port or range of ports`);
  const count = inside.end - inside.begin + 1;
  const shared = { protocol: name as Protocol, ...(address && { hostAddress: address }) };
  if (outside && count === 1 && outside.end > outside.begin) {
    return [{ ...shared, containerPort: inside.begin, hostPort: outside.begin, hostPortEnd: outside.end }];
  }
  if (outside && outside.end - outside.begin + 1 !== count) throw complain('the two ranges are not of one length');
  return Array.from({ length: count }, (_, at) => ({
    ...shared,
    containerPort: inside.begin + at,
    hostPort: outside && outside.begin > 0 ? outside.begin + at : 0,
  }));
}

/** `--expose` and an image's ExposedPorts: `PORT[-END][/PROTOCOL]`. */
export function parseExpose(text: string): { protocol: Protocol; port: number }[] {
  const [ports = '', protocol = 'tcp', ...more] = text.split('/');
  const range = parseRange(ports);
  const name = protocol.toLowerCase();
  if (!range || more.length > 0 || !protocols.has(name)) {
    throw new InvalidArgumentError('PORT_INVALID', `invalid port '${text}': give PORT[-END][/tcp|udp|sctp]`);
  }
  const count = range.end - range.begin + 1;
  return Array.from({ length: count }, (_, at) => ({ protocol: name as Protocol, port: range.begin + at }));
}

function parseRange(text: string, lowest = 1): { begin: number; end: number } | undefined {
  const [, first = '', last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const [begin, end] = [Number(first), Number(last)];
  return first !== '' && begin >= lowest && begin <= end && end <= 65535 ? { begin, end } : undefined;
}
