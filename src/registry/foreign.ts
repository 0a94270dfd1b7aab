// Layers that a registry must not keep, and that a manifest gives addresses of instead (OCI's "non-distributable" layers).
// A manifest is a stranger's word: only https, and only to hosts of the public internet, without credentials, whatever a name
// resolves to and wherever a redirect leads.

import { lookup as resolve, type LookupAddress } from 'node:dns';
import { BlockList, isIP, isIPv6, type LookupFunction } from 'node:net';
import type { Failures } from './failures.ts';
import type { Descriptor } from './oci.ts';
import type { Answer, Transport } from './transport.ts';

const redirectLimit = 5;

/** Addresses that mean this machine or its neighbours, or nobody (IANA's special-purpose registries). */
const special = new BlockList();
for (const [address, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const) {
  special.addSubnet(address, prefix, 'ipv4');
}
// What is not global unicast, and the parts of it that lead back into IPv4.
const global = new BlockList();
global.addSubnet('2000::', 3, 'ipv6');
special.addSubnet('2001::', 32, 'ipv6');
special.addSubnet('2002::', 16, 'ipv6');

/** Whether an IP address is one of the public internet. */
export function isPublic(address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, '');
  if (isIPv6(bare)) return global.check(bare, 'ipv6') && !special.check(bare, 'ipv6');
  return isIP(bare) === 4 && !special.check(bare, 'ipv4');
}

/** The answer of the first address that has the blob, asked from byte `at` on. */
export async function openForeign(
  transport: Transport,
  failures: Failures,
  descriptor: Descriptor,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  let failure: Error | undefined;
  for (const address of descriptor.urls ?? []) {
    try {
      return await follow(transport, failures, address, headers, signal);
    } catch (error) {
      if (signal?.aborted) throw error;
      failure = error as Error;
    }
  }
  throw failures.unreachable(failure, 'pull');
}

async function follow(
  transport: Transport,
  failures: Failures,
  address: string,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  let location = address;
  for (let hop = 0; hop <= redirectLimit; hop++) {
    const url = URL.canParse(location) ? new URL(location) : undefined;
    if (!url || !mayFetch(url)) {
      throw failures.protocol(`names ${JSON.stringify(location)} as the place of a layer, where kapsel does not go`);
    }
    const answer = await transport.request(url, { headers, signal, lookup: lookUp });
    if (answer.status === 200 || answer.status === 206) return answer;
    answer.body.destroy();
    if (answer.headers.location === undefined || answer.status < 300 || answer.status > 308) {
      throw failures.protocol(`names ${url.host} as the place of a layer, which answers with status ${answer.status}`);
    }
    location = URL.canParse(answer.headers.location, url.href) ? new URL(answer.headers.location, url).href : '';
  }
  throw failures.protocol(`names ${JSON.stringify(address)} as the place of a layer, which redirects for ever`);
}

function mayFetch(url: URL): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return url.protocol === 'https:' && url.username === '' && (isIP(host) === 0 || isPublic(host));
}

/** Names are checked by what they resolve to, in the moment of connecting. */
const lookUp: LookupFunction = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, addresses: LookupAddress[] = []) => {
    const hidden = addresses.find(({ address }) => !isPublic(address));
    if (error || hidden || !addresses[0]) {
      const refusal = new Error(`${hostname} is ${hidden?.address ?? 'nowhere'}, which is no address of the internet`);
      callback(error ?? refusal, '');
    } else if (options.all) callback(null, addresses);
    else callback(null, addresses[0].address, addresses[0].family);
  });
};
