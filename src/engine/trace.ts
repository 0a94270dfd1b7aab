// Where the microseconds go: with `KAPSEL_TRACE=FILE` each phase of the engine appends `PID NANOSECONDS PHASE` to that file, on
// the clock the executable uses for its own, so that the two read as one story.

import { appendFileSync } from 'node:fs';

const file = process.env['KAPSEL_TRACE'];

export const trace: (phase: string) => void = file
  ? (phase) => appendFileSync(file, `${process.pid} ${process.hrtime.bigint()} engine: ${phase}\n`)
  : () => {};
