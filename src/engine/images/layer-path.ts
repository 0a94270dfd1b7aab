// Where a layer's tree is: the one thing about layers that running a container needs to know.

/** ROOT/layers/HEX. */
export function layerPath(root: string, diffId: string): string {
  return `${layersDirectory(root)}/${diffId.slice('sha256:'.length)}`;
}

/** Of all layers. */
export function layersDirectory(root: string): string {
  return `${root}/layers`;
}
