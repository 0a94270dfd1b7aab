// Imports point down only, and policy neither prints nor reads the command line (ARCHITECTURE.md, "Three floors").

import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const source = new URL('../src/', import.meta.url).pathname;
const files = globSync('**/*.ts', { cwd: source });

/** What each room may import from besides itself. */
const doors: Record<string, string[]> = {
  'native.ts': ['native', 'engine/errors.ts'],
  native: ['engine/errors.ts'],
  registry: ['native.ts', 'engine/errors.ts'],
  engine: ['native.ts', 'registry'],
  'index.ts': ['native.ts', 'engine', 'registry'],
  ui: ['index.ts', 'engine', 'registry'],
  commands: ['index.ts', 'engine', 'registry', 'ui', 'cli'],
  cli: ['index.ts', 'engine', 'registry', 'ui', 'commands', 'native.ts'],
};

function imports(file: string): string[] {
  const text = readFileSync(join(source, file), 'utf8');
  const found = text.matchAll(/(?:from|import)\s*\(?\s*["'](\.[^"']+)["']/g);
  return [...found].map(([, path]) => relative(source, join(source, dirname(file), path as string)));
}

const t = suite('imports');

for (const file of files) {
  const room = file.includes('/') ? (file.split('/')[0] as string) : file;
  t(`${file} imports only from below`, () => {
    assert.ok(room in doors, `${room} is not a room: give it its doors in this test`);
    for (const path of imports(file)) {
      const target = path.split('/')[0] as string;
      const allowed = target === room || (doors[room] as string[]).some((door) => door === target || door === path);
      assert.ok(allowed, `${file} imports ${path}`);
    }
  });
}

t('policy prints nothing and reads no argv', () => {
  for (const file of files.filter((file) => /^(engine|registry|native\.ts|index\.ts)/.test(file))) {
    const text = readFileSync(join(source, file), 'utf8');
    assert.not.match(text, /\bconsole\.|process\.argv|process\.exit\b|process\.stdout/, file);
  }
});

t.run();
