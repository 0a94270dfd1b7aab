// `kapsel version`: which kapsel, Node and kernel these are.
import { defineCommand } from '../cli/command.ts';
import { text } from '../cli/values/basic.ts';
import { renderFormat } from './listing.ts';
import { print, printLine } from '../ui/output.ts';

export const version = defineCommand({
  name: 'version',
  summary: 'Show the version information',
  flags: { format: { value: text, short: 'f', description: "Format output: 'json' or a Go template" } },
  arguments: [],
  examples: [{ command: "version -f '{{.Version}}'", description: 'The number alone' }],
  async run({ flags }, context) {
    const engine = await context.engine();
    const { kapsel, node, kernel, platform } = engine.version();
    const facts = { Version: kapsel, Node: node, Kernel: kernel, Platform: platform };
    if (flags.format === 'json') printLine(JSON.stringify(facts));
    else if (flags.format !== undefined) print(`${renderFormat(flags.format, facts)}\n`);
    else {
      print(`kapsel:\n Version:  ${kapsel}\n Node:     ${node}\n Kernel:   ${kernel}\n OS/Arch:  ${platform}\n`);
    }
  },
});
