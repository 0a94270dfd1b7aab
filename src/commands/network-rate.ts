// `--network-opt rate=10mbit`: the one option of a network that is a container's.
import { Failure } from '../cli/failure.ts';
import { pair } from '../cli/values/pair.ts';

export const networkOption = {
  value: pair('network-opt'),
  multiple: true,
  description: 'Option of the network: rate=10mbit',
} as const;

/** `exitCode`: where there is another option. */
export function networkRate(options: readonly (readonly [string, string])[], exitCode: number): string | undefined {
  const unknown = options.find(([name]) => name !== 'rate');
  if (unknown) throw new Failure(`--network-opt ${unknown[0]}: no such option: use rate=10mbit`, exitCode);
  return options.at(-1)?.[1];
}
