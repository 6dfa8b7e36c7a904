// Label maps: one byte a pixel, the object's id. Files of the server show ids by the colours of the DAVIS palette.
const tables = [[0, 3, 6], [1, 4, 7], [2, 5]].map((bits) => {
  // Bit 7 - j of a channel is one of the id's bits.
  const table = new Uint8Array(256);
  for (let value = 0; value < 256; value++) bits.forEach((bit, j) => { table[value] |= ((value >> (7 - j)) & 1) << bit; });
  return table;
});

export async function decodeLabels(blob, width, height) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  const labels = new Uint8Array(width * height);
  const [red, green, blue] = tables;
  for (let i = 0, j = 0; i < labels.length; i++, j += 4) labels[i] = red[pixels[j]] | green[pixels[j + 1]] | blue[pixels[j + 2]];
  return labels;
}

// What changed between two label maps, as [first pixel, pixels, id] each.
export function runsBetween(before, after) {
  const runs = [];
  for (let i = 0; i < after.length; i++) {
    if (before[i] === after[i]) continue;
    const id = after[i], start = i;
    while (i < after.length && after[i] === id && before[i] !== id) i++;
    runs.push(start, i - start, id);
    i--;
  }
  return new Uint32Array(runs);
}

export function applyRuns(labels, runs) {
  for (let i = 0; i < runs.length; i += 3) labels.fill(runs[i + 2], runs[i], runs[i] + runs[i + 1]);
}

// The connected pixels around (x, y) for which `inside(index)` holds, given to `take(index)`, row by row.
export function flood(width, height, x, y, inside, take) {
  const seen = new Uint8Array(width * height), waiting = [y * width + x];
  while (waiting.length) {
    const at = waiting.pop();
    if (seen[at] || !inside(at)) continue;
    const row = at - (at % width);
    let left = at, right = at;
    while (left > row && !seen[left - 1] && inside(left - 1)) left--;
    while (right < row + width - 1 && !seen[right + 1] && inside(right + 1)) right++;
    for (let i = left; i <= right; i++) { seen[i] = 1; take(i); }
    for (const other of [row - width, row + width]) {
      if (other < 0 || other >= width * height) continue;
      let open = false;
      for (let i = other + left - row; i <= other + right - row; i++) {
        const free = !seen[i] && inside(i);
        if (free && !open) waiting.push(i);
        open = free;
      }
    }
  }
}
