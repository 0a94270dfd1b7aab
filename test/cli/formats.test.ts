// What listings look like: tables, Go templates, sizes, times, rows.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { matches } from '../../src/engine/images/list.ts';
import { type MachineFacts, warnings } from '../../src/commands/info.ts';
import { answers, sideBySide } from '../../src/commands/demo.ts';
import { describe } from '../../src/cli/failure.ts';
import { row } from '../../src/commands/ps.ts';
import type { ContainerSummary } from '../../src/engine/containers/options.ts';
import { layerLine } from '../../src/ui/pull-display.ts';
import { plainJson, quote } from '../../src/ui/plain.ts';
import { table } from '../../src/ui/table.ts';
import { compileTemplate, unescapeFormat } from '../../src/ui/template.ts';
import { ago, binarySize, ellipsis, humanDuration, humanSize } from '../../src/ui/units.ts';

const t = suite('cli formats');
const render = (template: string, data: unknown) => compileTemplate(template)(data);

t('a table is aligned as Docker’s', () => {
  assert.is(
    table([
      ['A', 'LONG HEADER', 'C'],
      ['1234567890', 'x', 'y'],
    ]),
    'A            LONG HEADER   C\n1234567890   x             y\n',
  );
  assert.is(
    table([
      ['A', 'B'],
      ['1', '2'],
    ]),
    'A         B\n1         2\n',
  );
});

t('wide characters take the columns they take', () => {
  assert.is(table([['名前', 'x']]), '名前      x\n');
});

t('what an image chose cannot command the terminal', () => {
  const hostile = '\u001b]0;owned\u0007\u009b31m\u202e';
  assert.is(table([[hostile]]), '\\x1b]0;owned\\x07\\x9b31m\\u202e\n');
  assert.is(quote('a"b\n\u001b\\'), '"a\\"b\\n\\x1b\\\\"');
  const json = plainJson({ Label: hostile });
  for (const character of hostile.replaceAll(/[\x20-\x7e]/g, '')) assert.not.ok(json.includes(character));
  assert.equal(JSON.parse(json), { Label: hostile });
  assert.is(
    describe(new Error(`registry says: ${hostile}\nand more`)),
    'registry says: \\x1b]0;owned\\x07\\x9b31m\\u202e and more',
  );
  assert.is(row({ ...container, command: ['sh', hostile] }, true).Command, '"sh \\x1b]0;owned\\x07\\x9b31m\\u202e"');
});

t('sizes', () => {
  assert.equal([0, 999, 1000, 72_800_000, 1_234_567_890].map(humanSize), ['0B', '999B', '1kB', '72.8MB', '1.23GB']);
  assert.equal([512, 1024, 2_097_152_000].map(binarySize), ['512B', '1KiB', '1.953GiB']);
});

t('spans of time', () => {
  const spans: [number, string][] = [
    [0.2, 'Less than a second'],
    [1, '1 second'],
    [59, '59 seconds'],
    [60, 'About a minute'],
    [150, '2 minutes'],
    [3600, 'About an hour'],
    [47 * 3600, '47 hours'],
    [3 * 86400, '3 days'],
    [15 * 86400, '2 weeks'],
    [70 * 86400, '2 months'],
    [800 * 86400, '2 years'],
  ];
  for (const [seconds, words] of spans) assert.is(humanDuration(seconds * 1000), words);
  assert.is(ago('never'), 'N/A');
});

t('a long word ends in an ellipsis', () => assert.is(ellipsis('sleep 1000000000000', 10), 'sleep 100…'));

t('a template’s fields, nested and missing', () => {
  assert.is(render('{{.Name}}: {{ .State.Pid }}', { Name: 'web', State: { Pid: 7 } }), 'web: 7');
  assert.is(render('{{.Labels.a}}', { Labels: { b: '1' } }), '<no value>');
  assert.throws(() => render('{{.Nope}}', { Name: 'web' }), /can't evaluate field Nope/);
});

t('json, of all and of a part, key order kept', () => {
  assert.is(render('{{json .}}', { B: 1, A: [true, null] }), '{"B":1,"A":[true,null]}');
  assert.is(render('{{json .A}}', { A: { x: 'y' } }), '{"x":"y"}');
});

t('values print as Go prints them', () => {
  assert.is(render('{{.}}', ['a', 'b']), '[a b]');
  assert.is(render('{{.}}', { b: 1, a: 'x' }), 'map[a:x b:1]');
  assert.is(render('{{.A}}', { A: null }), '<no value>');
});

t('range, if, else, with', () => {
  const data = {
    Mounts: [
      { Source: '/a', RW: true },
      { Source: '/b', RW: false },
    ],
    Empty: [],
    Name: 'web',
  };
  assert.is(render('{{range .Mounts}}{{.Source}}{{if .RW}}:rw{{else}}:ro{{end}} {{end}}', data), '/a:rw /b:ro ');
  assert.is(render('{{range .Empty}}x{{else}}none{{end}}', data), 'none');
  assert.is(render('{{with .Name}}<{{.}}>{{end}}', data), '<web>');
  assert.is(render('{{range .Mounts}}{{$.Name}} {{end}}', data), 'web web ');
  assert.is(render('{{if eq .Name "db"}}1{{else if eq .Name "web"}}2{{else}}3{{end}}', data), '2');
});

t('functions and pipes', () => {
  const data = { Name: 'web', Args: ['a', 'b'], Map: { 'x.y': 'z' }, Label: (name: string) => `<${name}>` };
  assert.is(render('{{join .Args ", "}}', data), 'a, b');
  assert.is(render('{{.Args | json | upper}}', data), '["A","B"]');
  assert.is(render('{{index .Map "x.y"}} {{index .Args 1}} {{len .Args}}', data), 'z b 2');
  assert.is(render('{{.Label "com.x"}}', data), '<com.x>');
  assert.is(render('{{printf "%-5s|%q|%d" .Name .Name 3}}', data), 'web  |"web"|3');
  assert.is(render('{{title (lower "WEB")}}', data), 'Web');
  assert.is(render('{{truncate .Name 2}}', data), 'we');
});

t('white space is trimmed where asked, comments and braces in strings are understood', () => {
  assert.is(render('a {{- 1 -}} b', {}), 'a1b');
  assert.is(render('{{/* nothing */}}x{{"}}"}}', {}), 'x}}');
  assert.is(unescapeFormat('a\\tb\\n'), 'a\tb\n');
});

t('a broken template is told apart', () => {
  assert.throws(() => compileTemplate('{{.Foo'), /failed to parse template: unclosed action/);
  assert.throws(() => compileTemplate('{{foo}}'), /function "foo" not defined/);
  assert.throws(() => compileTemplate('{{if .A}}'), /an \{\{end\}\} is missing/);
  assert.throws(() => compileTemplate('{{end}}'), /unexpected \{\{end\}\}/);
  assert.throws(() => compileTemplate('{{.A | .B}}{{1 2}}'), /can't give argument/);
  assert.throws(() => compileTemplate('{{constructor}}'), /not defined/);
});

const container: ContainerSummary = {
  id: 'a'.repeat(64),
  name: 'web',
  image: 'nginx',
  imageId: `sha256:${'b'.repeat(64)}`,
  command: ['nginx', '-g', 'daemon off; worker_processes 4'],
  createdAt: '2024-05-01T10:00:00.000000000Z',
  startedAt: '2024-05-01T10:00:01.000000000Z',
  status: 'running',
  labels: { team: 'a', tier: 'front' },
  mounts: ['/srv/a/very/long/path'],
  networks: ['web'],
  ports: [{ protocol: 'tcp', address: '0.0.0.0', port: 8080, containerPort: 80 }],
  exposedPorts: ['80/tcp', '443/tcp'],
};
const later = Date.parse('2024-05-01T10:05:01Z');

t('a line of ps', () => {
  const line = row(container, false, later);
  assert.is(line.ID, 'aaaaaaaaaaaa');
  assert.is(line.Command, '"nginx -g daemon off…"');
  assert.is(line.RunningFor, '5 minutes ago');
  assert.is(line.Status, 'Up 5 minutes');
  assert.is(line.Labels, 'team=a,tier=front');
  assert.is(line.Label('tier'), 'front');
  assert.is(line.Mounts, '/srv/a/very/lo…');
  const full = row(container, true, later);
  assert.is(full.ID.length, 64);
  assert.is(full.Command, '"nginx -g daemon off; worker_processes 4"');
});

t('each status in Docker’s words', () => {
  const status = (change: Partial<ContainerSummary>) => row({ ...container, ...change }, false, later).Status;
  assert.is(status({ status: 'paused' }), 'Up 5 minutes (Paused)');
  assert.is(status({ status: 'created' }), 'Created');
  assert.is(
    status({ status: 'exited', exitCode: 137, finishedAt: '2024-05-01T10:03:01Z' }),
    'Exited (137) 2 minutes ago',
  );
});

t('images are found by repository, tag and pattern', () => {
  const image = { repository: '127.0.0.1:5000/debian', tag: '12' };
  for (const pattern of ['127.0.0.1:5000/debian', '127.0.0.1:5000/debian:12', '127.0.0.1:5000/deb*:1?']) {
    assert.ok(matches(image, pattern), pattern);
  }
  for (const pattern of ['debian', '127.0.0.1:5000/debian:11', '*', '['])
    assert.not.ok(matches(image, pattern), pattern);
});

t('a layer’s line while it comes', () => {
  const layer = `sha256:${'c'.repeat(64)}`;
  assert.is(
    layerLine({ layer, phase: 'downloading', bytes: 25_000_000, total: 50_000_000 }),
    'cccccccccccc Downloading [==========>         ]  25MB/50MB',
  );
  assert.is(
    layerLine({ layer, phase: 'downloading', bytes: 25_000_000, total: undefined }),
    'cccccccccccc Downloading  25MB',
  );
  assert.is(layerLine({ layer, phase: 'done', bytes: 1, total: 1 }), 'cccccccccccc Pull complete');
});

t('what a machine lacks is said with its remedy', () => {
  const machine: MachineFacts = {
    version: '0',
    kernel: '6',
    architecture: 'x86_64',
    cgroups: { version: 'v2', controllers: ['cpu', 'cpuset', 'memory', 'pids'] },
    overlay: true,
    seccomp: true,
    apparmor: false,
    selinux: false,
    userNamespaces: { supported: true, forbiddenBy: null },
    rootless: null,
  };
  assert.equal(warnings(machine), []);
  assert.match(warnings({ ...machine, overlay: false })[0]!, /modprobe overlay/);
  assert.match(
    warnings({ ...machine, cgroups: { version: 'v2', controllers: ['cpu', 'cpuset', 'pids'] } })[0]!,
    /--memory/,
  );
  const rootless = { uid: 1000, subUids: [], subGids: [], idMapHelpers: false };
  const found = warnings({ ...machine, rootless, cgroups: { ...machine.cgroups, version: 'hybrid' } }).join('\n');
  assert.match(found, /uidmap/);
  assert.match(found, /usermod --add-subuids/);
  assert.match(found, /cgroup v2/);
});

t('the demo’s two sides stand beside each other', () => {
  const text = sideBySide(answers('pid=812\nmemory=max\nseccomp=0\n'), answers('pid=1\nmemory=268435456\nseccomp=2\n'));
  assert.match(text, /Own process id +812 +1\n/);
  assert.match(text, /Memory limit \(bytes\) +none +268435456\n/);
  assert.match(text, /System call filter +off +on\n/);
});

t.run();
