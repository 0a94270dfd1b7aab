// WWW-Authenticate (RFC 9110, 11.6.1): the ways to log in that a 401 offers.
// Parsing only; credentials.ts and authorizer.ts answer.

export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  scheme: string;
  /** Names in lower case. */
  parameters: Record<string, string>;
}

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const separators = /[\s,]*/y;
const parameter = new RegExp(`(${token})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}(?=[\\s,]|$)))`, 'y');
const scheme = new RegExp(`(${token})(?:[ \\t]+|(?=,)|$)`, 'y');
const token68 = /[A-Za-z0-9._~+/-]+=*(?=[\s,]|$)/y;

/** Every challenge of the header, in order; parsing stops without complaint where the header stops making sense. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match) at = pattern.lastIndex;
    return match;
  };
  while (at < header.length) {
    take(separators);
    const pair = challenges.length === 0 ? null : take(parameter);
    if (pair) {
      const value = pair[2] === undefined ? (pair[3] ?? '') : pair[2].replace(/\\(.)/g, '$1');
      challenges.at(-1)!.parameters[pair[1]!.toLowerCase()] ??= value;
      continue;
    }
    const name = take(scheme);
    if (!name) break;
    challenges.push({ scheme: name[1]!.toLowerCase(), parameters: Object.create(null) });
    const start = at;
    if (!take(parameter)) take(token68);
    else at = start;
  }
  return challenges;
}
