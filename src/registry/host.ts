// A server that images of a registry can be had from: the registry itself, or a mirror of it.

import { type Endpoint, endpoints } from './endpoint.ts';

export type Capability = 'pull' | 'resolve' | 'push';

export interface Host {
  /** `host[:port]`: what credentials are stored under. */
  name: string;
  /** Ways to reach it, in order. */
  endpoints: Endpoint[];
  /** `pull`: content by digest; `resolve`: tags too. */
  capabilities: ReadonlySet<Capability>;
  /** Sent with every request. */
  headers: Record<string, string>;
}

export const everything: ReadonlySet<Capability> = new Set(['pull', 'resolve', 'push']);

/** The registry itself, as nobody has said anything else about it. */
export function directly(registry: string, insecure: boolean): Host {
  return { name: registry, endpoints: endpoints(registry, insecure), capabilities: everything, headers: {} };
}
