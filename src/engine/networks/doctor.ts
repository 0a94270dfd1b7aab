// What of this machine stands in the way of containers' networks, and what would help: advice made of facts. Loaded when it
// is asked for.

import { readFileSync } from 'node:fs';

import type { Engine } from '../engine.ts';
import { KapselError } from '../errors.ts';
import { livingOnNetworks, needed } from './repair.ts';
import { networkVerb } from './verb.ts';

/** Something that is not as it should be. */
export interface Diagnosis {
  /** A stable word. */
  code: string;
  /** `error`: containers' packets are lost. `warning`: they may be, or something is left over. */
  severity: 'error' | 'warning';
  /** One line. */
  message: string;
  /** What to do, usually a command. */
  remedy: string;
}

export interface NetworkHealth {
  problems: Diagnosis[];
  /** Other programs that keep rules in the packet filter, as far as they are known. */
  managers: string[];
}

/** As crates/network finds it (doctor.rs). */
interface Findings {
  interfaces: string[];
  table: 'whole' | 'changed' | 'absent';
  dropping: { family: string; table: string; name: string }[];
  managers: string[];
  legacyTables: string[];
  ipForward: boolean;
  ipv6Forward: boolean;
  bridgeNetfilter?: boolean;
  tracked?: number;
  trackedAtMost?: number;
}

/** What a network's bridge and the packet filter are to have. */
interface Wanted {
  /** Names of the bridges that containers are at. */
  bridges: string[];
  leadsOut: boolean;
  isIPv6: boolean;
  ports: { container: string; hostPort: number; protocol: string; hostAddress?: string }[];
}

/** Looks, and changes nothing. */
export async function examine(engine: Engine): Promise<NetworkHealth> {
  const wanted = expected(engine);
  try {
    const findings = (await networkVerb(engine, 'doctor', { bridges: wanted.bridges })) as Findings;
    const published = (await networkVerb(engine, 'ports')) as Wanted['ports'];
    const problems = [
      ...ofTable(findings, wanted, published),
      ...ofKernel(findings, wanted),
      ...ofOthers(findings, wanted),
      ...ofBridges(engine, findings, wanted),
    ];
    return { problems, managers: findings.managers };
  } catch (error) {
    if (!(error instanceof KapselError) || !/^(NOT_SUPPORTED|PERMISSION_DENIED)$/.test(error.code)) throw error;
    const remedy =
      error.code === 'NOT_SUPPORTED'
        ? 'modprobe -a bridge veth nf_tables nft_nat nft_masq nft_fib_inet, or use --network none or host'
        : 'run kapsel as root, with CAP_NET_ADMIN';
    const problem: Diagnosis = { code: 'KERNEL_LACKS', severity: 'error', message: error.message, remedy };
    return { problems: [problem], managers: [] };
  }
}

function expected(engine: Engine): Wanted {
  const { bridges, ports } = needed(engine, livingOnNetworks(engine));
  const all = [...bridges.values()];
  return {
    bridges: all.map(({ name }) => name),
    leadsOut: all.some(({ internal }) => !internal),
    isIPv6: all.some(({ subnets }) => subnets.some((subnet) => subnet.includes(':'))),
    ports,
  };
}

function ofTable({ table }: Findings, wanted: Wanted, published: Wanted['ports']): Diagnosis[] {
  const remedy = 'the next kapsel command that touches networks puts it back: kapsel ps';
  if (table === 'changed' || (table === 'absent' && wanted.bridges.length > 0)) {
    const what = table === 'absent' ? 'is gone' : 'was changed by another program, or is of another version';
    return [{ code: 'TABLE_DAMAGED', severity: 'error', message: `the packet filter's table kapsel ${what}`, remedy }];
  }
  const key = ({ container, hostPort, protocol, hostAddress = '' }: Wanted['ports'][number]) =>
    `${container} ${hostAddress} ${hostPort}/${protocol}`;
  const found = new Set(published.map(key));
  const known = new Set(wanted.ports.map(({ container }) => container));
  const missing = wanted.ports.filter((port) => !found.has(key(port)));
  const strays = published.filter(({ container }) => !known.has(container));
  return [
    ...missing.map(({ hostPort, protocol }): Diagnosis => ({
      code: 'PORT_MISSING',
      severity: 'error',
      message: `port ${hostPort}/${protocol} is published and not in the packet filter`,
      remedy,
    })),
    ...strays.map(({ hostPort, protocol, container }): Diagnosis => ({
      code: 'PORT_STRAY',
      severity: 'warning',
      message: `port ${hostPort}/${protocol} leads to ${container.slice(0, 12)}, which does not run here`,
      remedy: 'nothing, where it is another engine’s (--root); otherwise nft delete table inet kapsel, then kapsel ps',
    })),
  ];
}

function ofKernel(findings: Findings, wanted: Wanted): Diagnosis[] {
  const problems: Diagnosis[] = [];
  const error = (code: string, message: string, remedy: string) =>
    problems.push({ code, severity: 'error', message, remedy });
  if (wanted.leadsOut && !findings.ipForward) {
    error(
      'FORWARDING_OFF',
      'this machine forwards no IPv4: containers reach nobody',
      'sysctl -w net.ipv4.ip_forward=1',
    );
  }
  if (wanted.leadsOut && wanted.isIPv6 && !findings.ipv6Forward) {
    const remedy = 'sysctl -w net.ipv6.conf.all.forwarding=1';
    error('FORWARDING_OFF', 'this machine forwards no IPv6: containers reach nobody by it', remedy);
  }
  const { tracked = 0, trackedAtMost = 0 } = findings;
  if (trackedAtMost > 0 && tracked > 0.9 * trackedAtMost) {
    const message = `${tracked} of at most ${trackedAtMost} connections are tracked: new ones will be dropped`;
    error('CONNECTIONS_FULL', message, `sysctl -w net.netfilter.nf_conntrack_max=${trackedAtMost * 2}`);
  }
  for (const name of wanted.bridges) {
    const setting = `net.ipv4.conf.${name}.route_localnet`;
    if (sysctl(setting) === '0') {
      error('LOOPBACK_UNROUTED', `127.0.0.1 does not lead to ports of containers at ${name}`, `sysctl -w ${setting}=1`);
    }
  }
  return problems;
}

function ofOthers({ dropping, managers, legacyTables, bridgeNetfilter }: Findings, { bridges }: Wanted): Diagnosis[] {
  const names = [...new Set(bridges.map((name) => (name.startsWith('kbr-') ? 'kbr-*' : name)))];
  const severity = bridges.length > 0 ? 'error' : 'warning';
  const by = managers.length > 0 ? ` (${managers.join(', ')})` : '';
  const problems = dropping.map(({ family, table, name }): Diagnosis => {
    const own = bridgeNetfilter ? ', and to each other' : '';
    return {
      code: 'FORWARD_DROPPED',
      severity,
      message: `chain ${name} of table ${family} ${table}${by} drops what containers send through this machine${own}`,
      remedy: letThrough({ family, table, name, managers, names: names.length > 0 ? names : ['kapsel0', 'kbr-*'] }),
    };
  });
  if (legacyTables.includes('filter')) {
    problems.push({
      code: 'LEGACY_TABLES',
      severity: 'warning',
      message: 'the old iptables has rules in its table filter, which kapsel cannot look into',
      remedy: 'iptables-legacy -S FORWARD shows whether they drop what containers send',
    });
  }
  return problems;
}

/** Rules that the other program keeps, where there is a place for them. */
function letThrough(chain: {
  family: string;
  table: string;
  name: string;
  managers: string[];
  names: string[];
}): string {
  const { family, table, name, managers, names } = chain;
  const each = (rule: (name: string) => string) => names.map(rule).join('; ');
  if (managers.includes('firewalld') && table === 'firewalld') {
    return (
      each((bridge) => `firewall-cmd --permanent --zone=trusted --add-interface=${bridge}`) + '; firewall-cmd --reload'
    );
  }
  if (managers.includes('ufw') && !managers.includes('docker')) {
    return each(
      (bridge) =>
        `ufw route allow in on ${bridge.replace('*', '+')}; ufw route allow out on ${bridge.replace('*', '+')}`,
    );
  }
  const place = managers.includes('docker') && table === 'filter' ? 'DOCKER-USER' : name;
  return each(
    (bridge) =>
      `nft insert rule ${family} ${table} ${place} iifname '"${bridge}"' accept; ` +
      `nft insert rule ${family} ${table} ${place} oifname '"${bridge}"' accept`,
  );
}

function ofBridges({ database }: Engine, { interfaces }: Findings, { bridges }: Wanted): Diagnosis[] {
  const present = new Set(interfaces);
  const known = new Set(database.networks().map(({ interface: name }) => name));
  const missing = bridges.filter((name) => !present.has(name));
  const strays = [...present].filter((name) => name.startsWith('kbr-') && !known.has(name));
  return [
    ...missing.map((name): Diagnosis => ({
      code: 'BRIDGE_MISSING',
      severity: 'error',
      message: `the bridge ${name} is gone: containers at it reach nobody`,
      remedy: 'kapsel restart these containers',
    })),
    ...strays.map((name): Diagnosis => ({
      code: 'BRIDGE_STRAY',
      severity: 'warning',
      message: `the bridge ${name} is of no network of this engine`,
      remedy: `nothing, where it is another engine’s (--root); otherwise ip link delete ${name}`,
    })),
  ];
}

function sysctl(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}
