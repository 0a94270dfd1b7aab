// `kapsel demo`: what `npm start` shows. One script looks at its surroundings twice, here and in a container, and the
// two answers stand side by side.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { defineCommand } from '../cli/command.ts';
import { UnsupportedError } from '../engine/errors.ts';
import { print } from '../ui/output.ts';
import { table } from '../ui/table.ts';
import { warn } from './container-flags.ts';
import { pulling } from './pulling.ts';

/** An image of the host's own shell: there is nothing to download. */
const image = 'host:sh';

/** Looks with the shell alone, so that one program is all the image needs. Prints a line `question=answer` each. */
const script = String.raw`
first() { [ -r "$1" ] && read -r answer < "$1" && printf %s "$answer"; }
field() { while read -r name value; do [ "$name" = "$1:" ] && printf %s "$value"; done < /proc/self/status; }
list() { for path in $1; do [ -e "$path" ] && printf '%s ' "${'$'}{path##*/}"; done; }
limit() { for path in "$@"; do first "$path" && return; done; printf 'none'; }
mounted() { while read -r _ _ _ _ where _ rest; do
  [ "$where" = / ] && set -- $rest && while [ "$1" != - ]; do shift; done && kind=$2; done < /proc/self/mountinfo; printf %s "$kind"; }
echo "pid=$$"
set -- /proc/[0-9]*
echo "processes=$#"
echo "hostname=$(first /proc/sys/kernel/hostname)"
echo "interfaces=$(list '/sys/class/net/*')"
read -r _ outside amount < /proc/self/uid_map
echo "user=$(set -- $(field Uid); printf %s "$1") (0 is $outside outside)"
echo "root=$(mounted)"
echo "directories=$(list '/*')"
echo "memory=$(limit /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max)"
echo "pids=$(limit /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max)"
echo "capabilities=$(field CapEff)"
echo "seccomp=$(field Seccomp)"
`;

const questions: Readonly<Record<string, string>> = {
  pid: 'Own process id',
  processes: 'Processes in sight',
  hostname: 'Hostname',
  interfaces: 'Network interfaces',
  user: 'User id',
  root: 'Root file system',
  directories: 'At its root',
  memory: 'Memory limit (bytes)',
  pids: 'Process limit',
  capabilities: 'Capabilities',
  seccomp: 'System call filter',
};

export const demo = defineCommand({
  name: 'demo',
  summary: 'Show what isolates a container, side by side with the host',
  hidden: true,
  flags: {},
  arguments: [],
  examples: [{ command: 'demo', description: 'From an image made of the host’s own shell' }],
  async run(_invocation, context) {
    const engine = await context.engine();
    const host = await promisify(execFile)('sh', ['-c', script]);
    const start = (limits: { memory?: string; pidsLimit?: number }) =>
      pulling(`Making ${image}`, true, ({ signal }) =>
        engine.containers.run(image, {
          command: ['sh', '-c', script],
          network: 'none',
          ...limits,
          signal,
          onWarning: warn,
        }),
      );
    const result = await start({ memory: '256m', pidsLimit: 64 }).catch((error: unknown) => {
      // Ordinary users often have no cgroup; the warning of the second try says so.
      if (!(error instanceof UnsupportedError)) throw error;
      return start({});
    });
    if (result.exitCode !== 0) {
      print(result.stderr);
      return result.exitCode;
    }
    print(`${sideBySide(answers(host.stdout), answers(result.stdout))}\n`);
    print(`The container was made, ran, and is gone: ${Math.round(result.duration)} ms.\n`);
    print(`Now yours:  npm start -- run --rm -it host:bash,ls,ps bash\n`);
    return 0;
  },
});

/** The script's lines by question. */
export function answers(output: string): Map<string, string> {
  return new Map(
    output
      .split('\n')
      .filter(Boolean)
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]),
  );
}

export function sideBySide(host: ReadonlyMap<string, string>, container: ReadonlyMap<string, string>): string {
  const rows = Object.entries(questions).map(([key, question]) => [
    question,
    shorten(inWords(key, host.get(key))),
    shorten(inWords(key, container.get(key))),
  ]);
  return table([['', 'HOST', 'CONTAINER'], ...rows]);
}

/** The kernel's numbers as people say them. */
function inWords(key: string, answer = ''): string {
  if (key === 'seccomp') return { '0': 'off', '1': 'strict', '2': 'on' }[answer] ?? answer;
  // v1 writes "no limit" as the largest number of whole pages.
  if (key === 'memory' && Number(answer) > 2 ** 60) return 'none';
  if (key === 'memory' || key === 'pids') return answer === 'max' ? 'none' : answer;
  return answer || 'none';
}

function shorten(answer: string): string {
  return answer.length <= 40 ? answer : `${answer.slice(0, 39)}…`;
}
