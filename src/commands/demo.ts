import { defineCommand } from '../cli/command.ts';
export const demo = defineCommand({
  name: 'demo',
  summary: 'x',
  flags: {},
  arguments: [],
  examples: [],
  run: async () => 0,
});
