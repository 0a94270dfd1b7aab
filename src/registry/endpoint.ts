// Where a registry is spoken to: its base URL, and whether plain http or an unknown certificate is acceptable there.

import { isIPv4 } from 'node:net';

/** How a server of https shows who it is, and how we do. */
export interface Tls {
  /** False: any certificate will do. */
  verify: boolean;
  /** Authorities trusted besides the known ones: PEM. */
  ca?: string[] | undefined;
  /** A certificate of ours and its key: PEM. */
  cert?: string | undefined;
  key?: string | undefined;
}

/** The known authorities. */
export const checked: Tls = { verify: true };
const unchecked: Tls = { verify: false };

export interface Endpoint {
  /** Where the protocol's paths begin, no slash at the end: `https://host[:port]/v2`. */
  root: string;
  tls: Tls;
}

/** Docker's rule: 127.0.0.0/8, ::1 and localhost are this machine, where plain http loses nothing. */
export function isLoopback(host: string): boolean {
  const name = hostname(host);
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'));
}

/**
 * The ways to try, in order. Not verified: https whatever its certificate, then plain http. Verified: https alone. Where
 * nobody has said which, loopback is spoken to by plain http, then https, and anything else by https alone.
 */
export function endpoints(registry: string, tlsVerify: boolean | undefined, tls: Tls = checked): Endpoint[] {
  const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry;
  const secure = { root: `https://${host}/v2`, tls: tlsVerify === false ? unchecked : tls };
  const plain = { root: `http://${host}/v2`, tls };
  if (tlsVerify === false) return [secure, plain];
  return tlsVerify === undefined && isLoopback(host) ? [plain, secure] : [secure];
}

/**
 * Whether a registry may send us to `target`, by redirect or as its token service.
 * Not from https down to http, and not from the internet into this machine or its link-local services (cloud metadata).
 */
export function mayLeadTo(from: URL, target: URL): boolean {
  if (target.origin === from.origin) return true;
  if (target.protocol !== 'https:' && target.protocol !== 'http:') return false;
  const fromLocal = isLoopback(from.host);
  if (target.protocol === 'http:' && from.protocol === 'https:') return false;
  if (target.protocol === 'http:' && fromLocal && !isLoopback(target.host)) return false;
  return fromLocal || !(isLoopback(target.host) || isLinkLocal(hostname(target.host)));
}

function isLinkLocal(name: string): boolean {
  return (
    (isIPv4(name) && (name.startsWith('169.254.') || name.startsWith('0.'))) || /^(fe[89ab]|::ffff:|::$)/i.test(name)
  );
}

/** `host[:port]` or `[v6][:port]` without brackets and port, lower case. */
function hostname(host: string): string {
  return (/^\[([^\]]*)\]/.exec(host)?.[1] ?? host.replace(/:\d+$/, '')).toLowerCase();
}
