// Where a registry is spoken to: its base URL, and whether plain http or an unknown certificate is acceptable there.

import { isIPv4 } from 'node:net';

export interface Endpoint {
  /** `https://host[:port]`, no slash at the end. */
  base: string;
  /** False: the certificate is not checked. */
  verify: boolean;
}

/** Docker's rule: 127.0.0.0/8, ::1 and localhost are this machine, where plain http loses nothing. */
export function isLoopback(host: string): boolean {
  const name = hostname(host);
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'));
}

/**
 * The ways to try, in order.
 * Loopback: plain http, then https. Insecure: https whatever its certificate, then plain http. Anything else: https alone.
 */
export function endpoints(registry: string, insecure: ReadonlySet<string>): Endpoint[] {
  const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry;
  if (insecure.has(registry)) {
    return [
      { base: `https://${host}`, verify: false },
      { base: `http://${host}`, verify: true },
    ];
  }
  const secure = { base: `https://${host}`, verify: true };
  return isLoopback(host) ? [{ base: `http://${host}`, verify: true }, secure] : [secure];
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
