// A server that images of a registry can be had from: the registry itself, or a mirror of it.

import { type Endpoint, endpoints, type Tls } from './endpoint.ts';

/** `pull`: content by its digest; `resolve`: tags too; `push`: it takes what is written. */
export type Capability = 'pull' | 'resolve' | 'push';

export interface Host {
  /** `host[:port]`: what credentials are stored under. */
  name: string;
  /** Ways to reach it, in order. */
  endpoints: Endpoint[];
  capabilities: ReadonlySet<Capability>;
  /** Sent with every request. */
  headers: Record<string, string>;
  /** The registry that a mirror is asked in place of: mirrors of several want to know. */
  namespace?: string | undefined;
}

export const everything: ReadonlySet<Capability> = new Set(['pull', 'resolve', 'push']);

/** The registry itself, as far as nobody has said anything else about it. */
export function directly(registry: string, tlsVerify: boolean | undefined, tls?: Tls): Host {
  return { name: registry, endpoints: endpoints(registry, tlsVerify, tls), capabilities: everything, headers: {} };
}
