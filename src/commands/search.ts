// `kapsel search`: repositories by a part of their name, where a registry lists what it has.
import { defineCommand } from '../cli/command.ts';
import { interruptible } from '../cli/interrupt.ts';
import { integer, text, yes } from '../cli/values/basic.ts';
import { InvalidArgumentError } from '../engine/errors.ts';
import { printListing } from './listing.ts';
import { accessOf, registryFlags } from './registry-flags.ts';

export const search = defineCommand({
  name: 'search',
  summary: 'Search a registry for images',
  description: 'Works with registries that have a catalogue; Docker Hub has none.',
  flags: {
    ...registryFlags,
    format: { value: text, description: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    limit: { value: integer, description: 'Max number of search results' },
    'no-trunc': { value: yes, hidden: true, description: "Don't truncate output" },
  },
  arguments: [{ name: 'REGISTRY[/TERM]', required: true }],
  examples: [{ command: 'search 127.0.0.1:5000/debian', description: 'Whatever has "debian" in its name' }],
  async run({ flags, args: [text = ''] }, context) {
    const { registry, term } = parseTerm(text);
    const engine = await context.engine();
    const interrupt = interruptible();
    try {
      const { signal } = interrupt;
      const names = await engine.registries.search(registry, term, { ...accessOf(flags), limit: flags.limit, signal });
      printListing({
        columns: [{ field: 'Name', header: 'NAME' }],
        headers: {},
        rows: names.map((name) => ({ Name: `${registry}/${name}` })),
        format: flags.format,
      });
    } finally {
      interrupt.release();
    }
  },
});

/** The registry has to be named: nobody can ask all of them. */
function parseTerm(text: string): { registry: string; term: string } {
  const [registry = '', ...term] = text.replace(/^https?:\/\//, '').split('/');
  if (/[.:]/.test(registry) || registry === 'localhost') return { registry, term: term.join('/') };
  const hint = 'name the registry: HOST[:PORT]/TERM';
  throw new InvalidArgumentError('SEARCH_INVALID', `cannot search for ${text}: Docker Hub has no catalogue`, {
    hint,
    exitCode: 1,
  });
}
