// Docker's `history`: what each step of an image's making added, the newest first. Pure.

import type { ImageRow } from '../../native.ts';
import type { ImageConfig } from '../../registry/oci.ts';
import type { HistoryEntry } from './types.ts';

/** `sizeOf` gives a layer's unpacked bytes. */
export function historyOf(row: ImageRow, sizeOf: (diffId: string) => number): HistoryEntry[] {
  const config = row.config as ImageConfig;
  const steps = config.history ?? [];
  const filled = steps.filter((step) => !step.empty_layer).length;
  // What does not fit the layers explains none of them.
  const told = filled === row.diffIds.length ? steps : row.diffIds.map(() => ({}) as (typeof steps)[number]);
  let layer = 0;
  const entries = told.map((step, index): HistoryEntry => {
    const diffId = step.empty_layer ? undefined : row.diffIds[layer++];
    return {
      id: index === told.length - 1 ? row.id : null,
      created: step.created ?? null,
      createdBy: step.created_by ?? '',
      comment: step.comment ?? '',
      size: diffId === undefined ? 0 : sizeOf(diffId),
      diffId: diffId ?? null,
    };
  });
  return entries.toReversed();
}
