// Finding the monitor of a container that runs, or is being started.

import { existsSync, watch } from 'node:fs';

import type { ContainerRow } from '../../native.ts';
import type { Engine } from '../engine.ts';
import { AbortedError, type KapselError } from '../errors.ts';
import { Alarm } from '../events.ts';
import { answerTime, MonitorUnresponsiveError } from './exit.ts';
import { connectMonitor } from './monitor.ts';
import { containerPaths } from './paths.ts';
import { reconcile } from './reap.ts';

export function isAlive(row: ContainerRow): boolean {
  return row.status === 'starting' || row.status === 'running' || row.status === 'paused';
}

/** Whether the container was not running, or went away meanwhile. */
export function isEnded(error: unknown): boolean {
  const { code } = error as KapselError;
  return code === 'CONTAINER_NOT_RUNNING' || code === 'NOT_RUNNING' || code === 'MONITOR_LOST';
}

/** A connection to its monitor, for whose socket it waits while the container is being started. Undefined: it is not alive. */
export async function reachMonitor(engine: Engine, id: string, signal?: AbortSignal): Promise<number | undefined> {
  const { control, runDirectory } = containerPaths(engine.root, engine.runRoot, id);
  const fd = connectMonitor(control);
  if (typeof fd === 'number') return fd;
  const lives = async () => {
    await reconcile(engine);
    return isAlive(engine.database.container(id)) && existsSync(runDirectory);
  };
  if (!(await lives())) return undefined;
  let patience = performance.now() + answerTime;
  const alarm = new Alarm();
  const watcher = watch(runDirectory, () => alarm.ring());
  watcher.on('error', () => alarm.ring());
  // Starting takes milliseconds. One who is killed at it lets go of the lock, of which the kernel tells nobody.
  const look = setInterval(() => alarm.ring(), 20);
  const abort = () => alarm.ring();
  signal?.addEventListener('abort', abort);
  try {
    for (;;) {
      const late = connectMonitor(control);
      if (typeof late === 'number') return late;
      if (late === undefined) patience = performance.now() + answerTime;
      else if (performance.now() > patience) throw new MonitorUnresponsiveError();
      if (signal?.aborted) throw new AbortedError();
      if (!(await lives())) return undefined;
      await alarm.heard();
    }
  } finally {
    clearInterval(look);
    signal?.removeEventListener('abort', abort);
    watcher.close();
  }
}
