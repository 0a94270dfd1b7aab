import { defineCommand } from '../cli/command.ts';
export const info = defineCommand({
  name: 'info',
  summary: 'x',
  flags: {},
  arguments: [],
  examples: [],
  run: async () => 0,
});
