// Labels as colours over a picture.
import { state } from "./state.js";

const rgb = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

// By id, the colour inside an object and that of its outline, as the bytes red, green, blue, alpha lie in memory.
export function colourTables() {
  const inside = new Uint32Array(256), edge = new Uint32Array(256);
  for (const { id, colour, visible } of state.objects) {
    if (!visible || state.style === "none") continue;
    const [r, g, b] = rgb(colour);
    const solid = (b << 16) | (g << 8) | r;
    inside[id] = (state.style === "fill" ? (Math.round(state.opacity * 255) << 24) | solid : 0) >>> 0;
    edge[id] = ((255 << 24) | solid) >>> 0;
  }
  return { inside, edge };
}

// Fill a rectangle of `target` (32 bits a pixel); outlines are `thick` pixels wide, inside the object.
export function colourLabels(target, labels, width, height, [left, top, right, bottom], { inside, edge }, thick) {
  for (let y = top; y < bottom; y++) {
    const up = y >= thick ? -thick * width : 0, down = y + thick < height ? thick * width : 0;
    for (let x = left, i = y * width + left; x < right; x++, i++) {
      const id = labels[i];
      if (id === 0) { target[i] = 0; continue; }
      const west = x >= thick ? labels[i - thick] : id, east = x + thick < width ? labels[i + thick] : id;
      target[i] = west !== id || east !== id || labels[i + up] !== id || labels[i + down] !== id ? edge[id] : inside[id];
    }
  }
}

export function drawBoth(canvas, bitmap, labels) {
  const { width, height } = state.session;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0, width, height);
  const pixels = new ImageData(width, height);
  const thick = Math.max(1, Math.round(width / 500));
  colourLabels(new Uint32Array(pixels.data.buffer), labels, width, height, [0, 0, width, height], colourTables(), thick);
  const layer = new OffscreenCanvas(width, height);
  layer.getContext("2d").putImageData(pixels, 0, 0);
  context.drawImage(layer, 0, 0);
}
