// Points in time and spans of it, as `logs --since` takes them: Go's durations, Unix seconds, RFC 3339.
import type { Value } from '../command.ts';

const unit: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3600e3,
};

/** Go's `1h30m` in milliseconds. */
export function parseDuration(given: string): number {
  if (given === '0') return 0;
  const parts = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+)$/.exec(given);
  if (!parts) throw new Error(`time: invalid duration ${JSON.stringify(given)}`);
  let total = 0;
  for (const [, amount, name] of parts[2]!.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * unit[name!]!;
  }
  return parts[1] === '-' ? -total : total;
}

/** RFC 3339 with as many nanoseconds as were given, so that no log line is cut at a rounded millisecond. */
export const timestamp: Value<string> = {
  placeholder: 'string',
  parse(given) {
    if (/^\d+(\.\d{1,9})?$/.test(given)) {
      const [seconds, fraction = ''] = given.split('.');
      return new Date(Number(seconds) * 1000).toISOString().replace('.000Z', `.${fraction.padEnd(9, '0')}Z`);
    }
    if (/^[+-]?[\d.]+[a-zµ]/.test(given)) return new Date(Date.now() - parseDuration(given)).toISOString();
    const date = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}(?::\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?))?(Z|[+-]\d{2}:\d{2})?$/.exec(
      given,
    );
    if (date) {
      const [, day, clock = '00:00:00', zone = ''] = date;
      const [hours, minutes = '00', seconds = '00'] = clock.split(':');
      const [whole, fraction = ''] = seconds.split('.');
      // Without a zone the time is local, as with Docker's client.
      const milliseconds = Date.parse(`${day}T${hours}:${minutes}:${whole}${zone}`);
      if (!Number.isNaN(milliseconds)) {
        return new Date(milliseconds).toISOString().replace('.000Z', `.${fraction.padEnd(9, '0')}Z`);
      }
    }
    throw new Error(
      `failed to parse value as time or duration: ${JSON.stringify(given)}: give an RFC 3339 time, Unix seconds, or a duration such as 42m`,
    );
  },
};

/** What reproducible builds call now, in seconds since 1970: reproducible-builds.org/specs/source-date-epoch. */
export function sourceDateEpoch({ SOURCE_DATE_EPOCH: given } = process.env): number | undefined {
  if (given === undefined || given === '') return undefined;
  if (/^\d{1,12}$/.test(given)) return Number(given);
  throw new Error(`SOURCE_DATE_EPOCH is ${JSON.stringify(given)}: give whole seconds since 1970, as \`date +%s\` does`);
}
