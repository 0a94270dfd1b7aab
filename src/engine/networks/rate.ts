// A rate as tc(8) writes it: what a container may send, and receive, in a second.

/** Bits: by letters of the decimal and of the binary units. */
const scales: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
};

/** The fewest bytes a second: one packet's worth takes a second and a half. */
const least = 1000;

/** For those who have written another. */
export const rateHelp = 'give 10mbit, 1.5gbit or 100kbps, at least 8kbit';

/** Bytes a second, of `10mbit` (bits), `1mbps` (bytes) or a number of bits; undefined where the text is none. */
export function parseRate(text: string): number | undefined {
  const [, number = '', scale = '', unit = 'bit'] = /^(\d+(?:\.\d+)?)(?:([kmgt]i?)?(bit|bps))?$/i.exec(text) ?? [];
  if (number === '') return undefined;
  const many = Number(number) * (scales[scale.toLowerCase()] as number);
  const bytes = Math.floor(unit.toLowerCase() === 'bps' ? many : many / 8);
  return bytes >= least && Number.isSafeInteger(bytes) ? bytes : undefined;
}
