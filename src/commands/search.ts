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
    limit: { value: integer, description: 'Max number of search results (default 25)' },
    'list-tags': { value: yes, description: 'List the tags of a repository' },
    'no-trunc': { value: yes, hidden: true, description: "Don't truncate output" },
  },
  arguments: [{ name: 'REGISTRY[/TERM]', required: true }],
  examples: [
    { command: 'search 127.0.0.1:5000/debian', description: 'Whatever has "debian" in its name' },
    { command: 'search --list-tags 127.0.0.1:5000/debian', description: 'Which of it there are' },
  ],
  async run({ flags, args: [text = ''] }, context) {
    const { format, limit = 25 } = flags;
    const engine = await context.engine();
    const interrupt = interruptible();
    const options = { ...accessOf(flags), signal: interrupt.signal };
    try {
      if (flags['list-tags']) {
        const names = await engine.images.tagsInRegistry(text, options);
        const rows = names.slice(0, limit).map(split);
        printListing({ columns: [nameColumn, { field: 'Tag', header: 'TAG' }], rows, format });
        return;
      }
      const { registry, term } = parseTerm(text);
      const names = await engine.registries.search(registry, term, { ...options, limit });
      // What else Docker's rows have, a catalogue does not tell.
      const rows = names.map((name) => {
        return { Name: `${registry}/${name}`, Description: '', StarCount: '0', IsOfficial: '' };
      });
      printListing({ columns: [nameColumn, { field: 'Description', header: 'DESCRIPTION' }], rows, format });
    } finally {
      interrupt.release();
    }
  },
});

const nameColumn = { field: 'Name', header: 'NAME' };

function split(reference: string): { Name: string; Tag: string } {
  const colon = reference.lastIndexOf(':');
  return { Name: reference.slice(0, colon), Tag: reference.slice(colon + 1) };
}

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
