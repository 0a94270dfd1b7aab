// The part of Go's text/template that people give to --format: fields, pipes, if, range, with, and the functions
// Docker adds (json, join, lower, upper, title, split, truncate, index, len, print, printf, println, eq, ne, and, or, not).
// No variables and no nested definitions.

type Expression =
  | { kind: 'field'; path: string[] }
  | { kind: 'literal'; value: unknown }
  | { kind: 'call'; name: string; arguments: Expression[] }
  | { kind: 'method'; path: string[]; arguments: Expression[] };

type Node =
  | { kind: 'text'; text: string }
  | { kind: 'print'; pipeline: Expression[] }
  | { kind: 'block'; block: 'if' | 'range' | 'with'; pipeline: Expression[]; body: Node[]; otherwise: Node[] };

export type Template = (data: unknown) => string;

/** Compiles; throws an Error that says where the template is wrong. */
export function compileTemplate(source: string): Template {
  const tokens = tokenize(source);
  const { nodes, end } = parseNodes(tokens, 0, false);
  if (end < tokens.length) throw complaint(`unexpected {{${tokens[end]!.text}}}`);
  return (data) => execute(nodes, data, data);
}

/** `\t` and `\n` are typed literally in shells; Docker turns them into what they mean. */
export function unescapeFormat(format: string): string {
  return format.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
}

const complaint = (why: string) => new Error(`failed to parse template: ${why}`);

interface Token {
  action: boolean;
  text: string;
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let rest = source;
  let trimNext = false;
  for (;;) {
    const open = rest.indexOf('{{');
    let text = open < 0 ? rest : rest.slice(0, open);
    if (trimNext) text = text.trimStart();
    if (open < 0) {
      if (text) tokens.push({ action: false, text });
      return tokens;
    }
    const close = findClose(rest, open + 2);
    if (close < 0) throw complaint('unclosed action');
    let action = rest.slice(open + 2, close);
    if (/^-\s/.test(action)) {
      text = text.trimEnd();
      action = action.slice(1);
    }
    trimNext = /\s-$/.test(action);
    if (trimNext) action = action.slice(0, -1);
    if (text) tokens.push({ action: false, text });
    if (!/^\s*\/\*.*\*\/\s*$/s.test(action)) tokens.push({ action: true, text: action.trim() });
    rest = rest.slice(close + 2);
  }
}

/** The `}}` that is not within a string. */
function findClose(source: string, from: number): number {
  let quote = '';
  for (let index = from; index < source.length; index++) {
    const character = source[index]!;
    if (quote) {
      if (character === '\\' && quote === '"') index++;
      else if (character === quote) quote = '';
    } else if (character === '"' || character === '`') quote = character;
    else if (source.startsWith('}}', index)) return index;
  }
  return -1;
}

function parseNodes(tokens: Token[], from: number, inside: boolean): { nodes: Node[]; end: number } {
  const nodes: Node[] = [];
  let index = from;
  while (index < tokens.length) {
    const token = tokens[index]!;
    if (!token.action) {
      nodes.push({ kind: 'text', text: token.text });
      index++;
      continue;
    }
    const [word = ''] = token.text.split(/\s/, 1);
    if (word === 'end' || word === 'else') {
      if (!inside) throw complaint(`unexpected {{${word}}}`);
      return { nodes, end: index };
    }
    if (word === 'if' || word === 'range' || word === 'with') {
      const block = parseBlock(tokens, index, word, token.text.slice(word.length));
      nodes.push(block.node);
      index = block.end;
      continue;
    }
    nodes.push({ kind: 'print', pipeline: parsePipeline(token.text) });
    index++;
  }
  if (inside) throw complaint('unexpected EOF: an {{end}} is missing');
  return { nodes, end: index };
}

function parseBlock(
  tokens: Token[],
  index: number,
  block: 'if' | 'range' | 'with',
  condition: string,
): { node: Node; end: number } {
  const pipeline = parsePipeline(condition);
  const body = parseNodes(tokens, index + 1, true);
  let otherwise: Node[] = [];
  let end = body.end;
  const ending = tokens[end]!.text;
  if (ending.startsWith('else')) {
    const chained = /^else\s+if\s(.*)$/s.exec(ending);
    if (chained) {
      const inner = parseBlock(tokens, end, 'if', chained[1]!);
      return { node: { kind: 'block', block, pipeline, body: body.nodes, otherwise: [inner.node] }, end: inner.end };
    }
    const other = parseNodes(tokens, end + 1, true);
    otherwise = other.nodes;
    end = other.end;
  }
  return { node: { kind: 'block', block, pipeline, body: body.nodes, otherwise }, end: end + 1 };
}

const word = /\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|(-?\d+(?:\.\d+)?)|(\$?(?:\.[\w]*)+|\$)|([A-Za-z]\w*)|([()|]))/y;

function parsePipeline(source: string): Expression[] {
  const words: string[] = [];
  word.lastIndex = 0;
  const trimmed = source.trim();
  while (word.lastIndex < trimmed.length) {
    const at = word.lastIndex;
    const match = word.exec(trimmed);
    if (!match) throw complaint(`unexpected ${JSON.stringify(trimmed.slice(at).trim()[0])} in {{${trimmed}}}`);
    words.push(match[0].trim());
  }
  let index = 0;
  const operand = (): Expression => {
    const next = words[index++];
    if (next === undefined) throw complaint('missing value for command');
    if (next === '(') {
      const inner = pipeline();
      if (words[index++] !== ')') throw complaint('unclosed left paren');
      return inner.reduce((input, call) => withInput(call, input));
    }
    if (next.startsWith('"')) return { kind: 'literal', value: JSON.parse(next) };
    if (next.startsWith('`')) return { kind: 'literal', value: next.slice(1, -1) };
    if (/^-?\d/.test(next)) return { kind: 'literal', value: Number(next) };
    if (next.startsWith('.') || next.startsWith('$')) {
      return { kind: 'field', path: next.split(/\.|(?<=^\$)/).filter((part) => part !== '') };
    }
    if (next === 'true' || next === 'false') return { kind: 'literal', value: next === 'true' };
    if (next === 'nil') return { kind: 'literal', value: null };
    if (!Object.hasOwn(functions, next)) throw complaint(`function ${JSON.stringify(next)} not defined`);
    return { kind: 'call', name: next, arguments: [] };
  };
  const command = (): Expression => {
    const first = operand();
    const rest: Expression[] = [];
    while (index < words.length && words[index] !== '|' && words[index] !== ')') rest.push(operand());
    if (first.kind === 'call') return { ...first, arguments: rest };
    if (rest.length === 0) return first;
    if (first.kind === 'field') return { kind: 'method', path: first.path, arguments: rest };
    throw complaint(`can't give argument to non-function in {{${trimmed}}}`);
  };
  const pipeline = (): Expression[] => {
    const commands = [command()];
    while (words[index] === '|') {
      index++;
      commands.push(command());
    }
    return commands;
  };
  const result = pipeline();
  if (index < words.length) throw complaint(`unexpected ${JSON.stringify(words[index])} in {{${trimmed}}}`);
  return result;
}

function withInput(call: Expression, input: Expression): Expression {
  if (call.kind === 'call' || call.kind === 'method') return { ...call, arguments: [...call.arguments, input] };
  throw complaint("can't give argument to non-function in a pipe");
}

function execute(nodes: readonly Node[], data: unknown, root: unknown): string {
  let output = '';
  for (const node of nodes) {
    if (node.kind === 'text') output += node.text;
    else if (node.kind === 'print') output += show(evaluatePipeline(node.pipeline, data, root));
    else {
      const value = evaluatePipeline(node.pipeline, data, root);
      if (!truth(value)) output += execute(node.otherwise, data, root);
      else if (node.block === 'range') {
        for (const item of Object.values(value as object)) output += execute(node.body, item, root);
      } else output += execute(node.body, node.block === 'with' ? value : data, root);
    }
  }
  return output;
}

function evaluatePipeline(pipeline: readonly Expression[], data: unknown, root: unknown): unknown {
  return evaluate(
    pipeline.reduce((input, call) => withInput(call, input)),
    data,
    root,
  );
}

function evaluate(expression: Expression, data: unknown, root: unknown): unknown {
  switch (expression.kind) {
    case 'literal':
      return expression.value;
    case 'field':
      return lookup(expression.path, data, root);
    case 'call':
      return functions[expression.name]!(...expression.arguments.map((argument) => evaluate(argument, data, root)));
    case 'method': {
      const method = lookup(expression.path, data, root);
      const given = expression.arguments.map((argument) => evaluate(argument, data, root));
      if (typeof method === 'function') return method(...given);
      throw new Error(`template: .${expression.path.join('.')} has arguments but is no function`);
    }
  }
}

function lookup(path: readonly string[], data: unknown, root: unknown): unknown {
  let value = path[0] === '$' ? root : data;
  for (const name of path[0] === '$' ? path.slice(1) : path) {
    if (value === null || value === undefined) return undefined;
    if (typeof value !== 'object' || !(name in value)) {
      // Go fails on a field a struct does not have; an entry a map does not have is "no value".
      if (typeof value === 'object' && isMap(value)) return undefined;
      throw new Error(`template: can't evaluate field ${name}`);
    }
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

/** Maps of users' own keys (labels, annotations) are lower case or dotted; fields are capitalized. */
function isMap(value: object): boolean {
  return !Object.keys(value).some((key) => /^[A-Z]/.test(key));
}

function truth(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** As Go's fmt prints with %v. */
function show(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  if (typeof value === 'object') {
    const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `map[${entries.map(([key, item]) => `${key}:${show(item)}`).join(' ')}]`;
  }
  return String(value);
}

function size(value: unknown): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length;
  return typeof value === 'object' && value !== null ? Object.keys(value).length : 0;
}

const functions: Record<string, (...given: any[]) => unknown> = {
  json: (value) => JSON.stringify(value ?? null),
  join: (list: unknown[], separator: string) => list.map(show).join(separator),
  split: (text: string, separator: string) => text.split(separator),
  lower: (text) => show(text).toLowerCase(),
  upper: (text) => show(text).toUpperCase(),
  title: (text) => show(text).replace(/\b\w/g, (letter) => letter.toUpperCase()),
  truncate: (text, width: number) => [...show(text)].slice(0, width).join(''),
  pad: (text, before: number, after: number) => ' '.repeat(before) + show(text) + ' '.repeat(after),
  index: (value, ...keys) => keys.reduce((inner, key) => inner?.[key], value),
  len: size,
  print: (...values) => values.map(show).join(''),
  println: (...values) => `${values.map(show).join(' ')}\n`,
  printf: (format: string, ...values) => {
    let next = 0;
    return format.replace(/%(-?\d*)([vsdqt%])/g, (_, width: string, verb: string) => {
      if (verb === '%') return '%';
      const text = verb === 'q' ? JSON.stringify(show(values[next++])) : show(values[next++]);
      const columns = Math.abs(Number(width || 0));
      return width.startsWith('-') ? text.padEnd(columns) : text.padStart(columns);
    });
  },
  eq: (first, ...others) => others.some((other) => other === first),
  ne: (first, second) => first !== second,
  lt: (first, second) => first < second,
  gt: (first, second) => first > second,
  le: (first, second) => first <= second,
  ge: (first, second) => first >= second,
  and: (...values) => values.find((value) => !truth(value)) ?? values.at(-1),
  or: (...values) => values.find(truth) ?? values.at(-1),
  not: (value) => !truth(value),
};
