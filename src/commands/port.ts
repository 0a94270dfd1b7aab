// `kapsel port`: the host's ports that lead to a container; `port add` and `port rm` while it runs.
import { defineCommand } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { item } from '../cli/values/basic.ts';
import { parseExpose } from '../engine/networks/ports.ts';
import { printLine } from '../ui/output.ts';
import { warn } from './container-flags.ts';

export const port = defineCommand({
  name: 'port',
  summary: 'List port mappings or a specific mapping for the container',
  flags: {},
  arguments: [{ name: 'CONTAINER', required: true }, { name: 'PRIVATE_PORT[/PROTO]' }],
  examples: [
    { command: 'port web', description: 'All of them' },
    { command: 'port web 80', description: 'Where its port 80 is' },
  ],
  async run({ args: [container = '', wanted] }, context) {
    const { networks } = await context.engine();
    const found = await networks.ports(container);
    const host = (address: string) => (address.includes(':') ? `[${address}]` : address);
    if (wanted === undefined) {
      for (const { containerPort, protocol, address, port } of found) {
        printLine(`${containerPort}/${protocol} -> ${host(address)}:${port}`);
      }
      return;
    }
    const [asked] = parseExpose(wanted);
    const its = found.filter(
      ({ containerPort, protocol }) => containerPort === asked?.port && protocol === asked.protocol,
    );
    if (its.length === 0) {
      throw new Failure(`No public port '${asked?.port}/${asked?.protocol}' published for ${container}`);
    }
    for (const { address, port } of its) printLine(`${host(address)}:${port}`);
  },
});

export const portAdd = defineCommand({
  name: 'port add',
  summary: 'Publish more ports of a container, which may run',
  flags: {
    publish: { value: item, short: 'p', multiple: true, description: "Publish a container's port(s) to the host" },
  },
  arguments: [
    { name: 'CONTAINER', required: true },
    { name: 'PORT', multiple: true },
  ],
  examples: [{ command: 'port add web -p 8080:80', description: 'From now on, and after every start' }],
  async run({ flags, args: [container = '', ...ports] }, context) {
    const { networks } = await context.engine();
    await networks.publish(container, some([...flags.publish, ...ports], 'add'), { onWarning: warn });
  },
});

export const portRemove = defineCommand({
  name: 'port rm',
  summary: 'Close published ports of a container, which may run',
  flags: { publish: { value: item, short: 'p', multiple: true, description: 'The same as a PORT' } },
  arguments: [
    { name: 'CONTAINER', required: true },
    { name: 'PORT', multiple: true },
  ],
  examples: [
    { command: 'port rm web 80', description: 'Every port of the host that leads to its port 80' },
    { command: 'port rm web 8080:80', description: 'This one' },
  ],
  async run({ flags, args: [container = '', ...ports] }, context) {
    const { networks } = await context.engine();
    await networks.unpublish(container, some([...flags.publish, ...ports], 'rm'));
  },
});

function some(ports: string[], verb: string): string[] {
  if (ports.length > 0) return ports;
  throw new Failure(`no port is named: kapsel port ${verb} CONTAINER [[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]`);
}
