// `kapsel network …`: short verbs of one noun, in Docker's words.
import { defineCommand } from '../cli/command.ts';
import { item, text, yes } from '../cli/values/basic.ts';
import { label } from '../cli/values/environment.ts';
import { filter, filters } from '../cli/values/filter.ts';
import { pair } from '../cli/values/pair.ts';
import type { Network } from '../engine/networks.ts';
import { printLine } from '../ui/output.ts';
import { plain, plainJson } from '../ui/plain.ts';
import { each } from './each.ts';
import { printListing, renderFormat } from './listing.ts';
import { networkOption, networkRate } from './network-rate.ts';

export const networkCreate = defineCommand({
  name: 'network create',
  summary: 'Create a network',
  flags: {
    'aux-address': {
      value: pair('auxiliary address'),
      multiple: true,
      description: 'Addresses that no container gets',
    },
    driver: { value: text, short: 'd', description: 'Driver to manage the network (bridge|macvlan)' },
    gateway: { value: text, multiple: true, description: 'Gateway of the subnet that it is in' },
    'interface-name': { value: text, description: "Name of the host's bridge" },
    internal: { value: yes, description: 'Restrict external access to the network' },
    'ip-range': { value: text, multiple: true, description: 'Allocate container addresses from a part of a subnet' },
    ipv4: { value: yes, description: 'Give it IPv4 addresses (default true)' },
    ipv6: { value: yes, description: 'Give it IPv6 addresses too' },
    label: { value: label, multiple: true, description: 'Set metadata on a network' },
    opt: { value: pair('option'), short: 'o', multiple: true, description: 'Set driver specific options' },
    subnet: { value: text, multiple: true, description: 'Subnet in CIDR format' },
  },
  arguments: [{ name: 'NETWORK', required: true }],
  examples: [
    { command: 'network create web', description: 'A bridge with a free subnet' },
    { command: 'network create --subnet 10.1.0.0/24 --internal db', description: 'Nothing outside is reachable' },
  ],
  async run({ flags, args: [name = ''] }, context) {
    const engine = await context.engine();
    const { assign } = await import('../engine/networks/subnets.ts');
    const reserved = flags['aux-address'].map(([, address]) => address);
    const network = await engine.networks.create(name, {
      driver: flags.driver,
      ipv4: flags.ipv4,
      ipv6: flags.ipv6,
      internal: flags.internal,
      interface: flags['interface-name'],
      subnets: assign(flags.subnet, { gateway: flags.gateway, range: flags['ip-range'], reserved }),
      options: Object.fromEntries(flags.opt),
      labels: Object.fromEntries(flags.label),
    });
    printLine(network.id);
  },
});

export const networkList = defineCommand({
  name: 'network ls',
  summary: 'List networks',
  flags: {
    filter: { value: filter, short: 'f', multiple: true, description: 'Provide filter values (e.g. "driver=bridge")' },
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    'no-trunc': { value: yes, description: 'Do not truncate the output' },
    quiet: { value: yes, short: 'q', description: 'Only display network IDs' },
  },
  arguments: [],
  examples: [{ command: 'network ls', description: 'All of them' }],
  async run({ flags }, context) {
    const engine = await context.engine();
    await engine.networks.repair();
    const isWanted = selection(filters(flags.filter, ['driver', 'id', 'label', 'name', 'type', 'dangling']));
    const found = (await engine.networks.list()).filter(isWanted);
    const shortened = (id: string) => (flags['no-trunc'] ? id : id.slice(0, 12));
    if (flags.quiet) {
      for (const { id } of found) printLine(shortened(id));
      return;
    }
    printListing({
      columns: [
        { field: 'ID', header: 'NETWORK ID' },
        { field: 'Name', header: 'NAME' },
        { field: 'Driver', header: 'DRIVER' },
        { field: 'Scope', header: 'SCOPE' },
      ],
      headers: { CreatedAt: 'CREATED AT', Internal: 'INTERNAL', IPv4: 'IPV4', IPv6: 'IPV6', Labels: 'LABELS' },
      rows: found.map((network) => ({
        ID: shortened(network.id),
        Name: network.name,
        Driver: network.driver,
        Scope: 'local',
        CreatedAt: network.createdAt,
        Internal: String(network.internal),
        IPv4: String(network.ipv4),
        IPv6: String(network.ipv6),
        Labels: Object.entries(network.labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(','),
        Label: (key: string) => network.labels[key] ?? '',
      })),
      format: flags.format,
    });
  },
});

export const networkRemove = defineCommand({
  name: 'network rm',
  summary: 'Remove one or more networks',
  flags: { force: { value: yes, short: 'f', description: 'Do not complain of networks that are not there' } },
  arguments: [{ name: 'NETWORK', required: true, multiple: true }],
  examples: [{ command: 'network rm web', description: 'Not while a container is on it' }],
  async run({ flags, args }, context) {
    const engine = await context.engine();
    return each(args, async (name) => {
      await engine.networks.remove(name, { force: flags.force });
      printLine(name);
    });
  },
});

export const networkConnect = defineCommand({
  name: 'network connect',
  summary: 'Connect a container to a network',
  flags: {
    alias: { value: item, multiple: true, description: 'Add network-scoped alias for the container' },
    ip: { value: text, description: 'IPv4 address (e.g., "172.30.100.104")' },
    ip6: { value: text, description: 'IPv6 address (e.g., "2001:db8::33")' },
    'mac-address': { value: text, description: 'MAC address (e.g., "92:d0:c6:0a:29:33")' },
    'interface-name': { value: text, description: 'Name of the interface in the container' },
    'network-opt': networkOption,
  },
  arguments: [
    { name: 'NETWORK', required: true },
    { name: 'CONTAINER', required: true },
  ],
  examples: [{ command: 'network connect --alias db backend postgres', description: 'While it runs' }],
  async run({ flags, args: [network = '', container = ''] }, context) {
    const engine = await context.engine();
    await engine.networks.connect(network, container, {
      aliases: flags.alias,
      ip: flags.ip,
      ip6: flags.ip6,
      macAddress: flags['mac-address'],
      interface: flags['interface-name'],
      rate: networkRate(flags['network-opt'], 1),
    });
  },
});

export const networkDisconnect = defineCommand({
  name: 'network disconnect',
  summary: 'Disconnect a container from a network',
  flags: { force: { value: yes, short: 'f', description: 'Do not complain where it is not connected' } },
  arguments: [
    { name: 'NETWORK', required: true },
    { name: 'CONTAINER', required: true },
  ],
  examples: [{ command: 'network disconnect backend postgres', description: 'While it runs' }],
  async run({ flags, args: [network = '', container = ''] }, context) {
    const engine = await context.engine();
    await engine.networks.disconnect(network, container, { force: flags.force });
  },
});

export const networkDoctor = defineCommand({
  name: 'network doctor',
  summary: "Say what stands in the way of containers' networks, and what would help",
  flags: { format: { value: text, description: "Format output: 'json' or a Go template" } },
  arguments: [],
  examples: [{ command: 'network doctor', description: 'Exits with 1 where packets are lost' }],
  async run({ flags }, context) {
    const engine = await context.engine();
    const health = await engine.networks.doctor();
    if (flags.format === 'json') printLine(plainJson(health));
    else if (flags.format !== undefined) printLine(renderFormat(flags.format, health));
    else if (health.problems.length === 0) printLine('nothing stands in the way');
    else
      for (const { severity, message, remedy } of health.problems)
        printLine(plain(`${severity}: ${message}: ${remedy}`));
    return health.problems.some(({ severity }) => severity === 'error') ? 1 : 0;
  },
});

/** Which networks the filters of `ls` and `prune` leave. */
function selection(given: Record<string, string[]>): (network: Network) => boolean {
  const { driver = [], id = [], label: labels = [], name = [], type = [], dangling = [] } = given;
  const some = (wanted: string[], fits: (value: string) => boolean) => wanted.length === 0 || wanted.some(fits);
  return (network) => {
    const isPredefined = ['bridge', 'host', 'none'].includes(network.name);
    return (
      some(driver, (value) => network.driver === value) &&
      some(id, (value) => network.id.startsWith(value)) &&
      some(name, (value) => network.name.includes(value)) &&
      some(type, (value) => value === (isPredefined ? 'builtin' : 'custom')) &&
      some(dangling, (value) => (value === 'true') === (!isPredefined && network.containers.length === 0)) &&
      labels.every((wanted) => {
        const [key = '', value] = wanted.split(/=(.*)/s);
        return key in network.labels && (value === undefined || network.labels[key] === value);
      })
    );
  };
}
