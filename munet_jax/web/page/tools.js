// What happens under the pointer: each tool begins, moves and ends in picture pixels.
import { commit, lockedIds, mayPaint, work } from "./painting.js";
import { flood } from "./labels.js";
import { redraw, pixelsAround, setDraft } from "./stage.js";
import { state } from "./state.js";

// A disc that is set pixel by pixel; where its edge is soft, a pixel is set once it was passed often enough.
class Disc {
  begin(x, y) {
    const { width, height } = state.session;
    this.before = work.labels.slice();
    this.id = this.value();
    this.locked = lockedIds();
    this.passed = state.hardness < 1 ? new Float32Array(width * height) : null;
    this.last = null;
    work.busy = true;
    this.move(x, y);
  }

  move(x, y) {
    const { width, height } = state.session, radius = state.size / 2;
    const [x0, y0] = this.last ?? [x, y];
    const steps = Math.max(1, Math.ceil(Math.hypot(x - x0, y - y0) / Math.max(1, radius / 4)));
    for (let k = this.last ? 1 : steps; k <= steps; k++) this.stamp(x0 + ((x - x0) * k) / steps, y0 + ((y - y0) * k) / steps, radius);
    this.last = [x, y];
    redraw([
      Math.max(0, Math.floor(Math.min(x, x0) - radius - 1)), Math.max(0, Math.floor(Math.min(y, y0) - radius - 1)),
      Math.min(width, Math.ceil(Math.max(x, x0) + radius + 1)), Math.min(height, Math.ceil(Math.max(y, y0) + radius + 1)),
    ]);
  }

  stamp(cx, cy, radius) {
    const { width, height } = state.session, { labels } = work, hard = radius * state.hardness;
    const top = Math.max(0, Math.ceil(cy - radius - 0.5)), bottom = Math.min(height - 1, Math.floor(cy + radius - 0.5));
    for (let y = top; y <= bottom; y++) {
      const half = Math.sqrt(Math.max(0, radius * radius - (y + 0.5 - cy) ** 2));
      const left = Math.max(0, Math.ceil(cx - half - 0.5)), right = Math.min(width - 1, Math.floor(cx + half - 0.5));
      for (let x = left, i = y * width + left; x <= right; x++, i++) {
        if (this.locked.has(labels[i])) continue;
        if (this.passed) {
          const distance = Math.hypot(x + 0.5 - cx, y + 0.5 - cy);
          const share = distance <= hard ? 1 : 0.25 * (1 - (distance - hard) / (radius - hard));
          this.passed[i] += (1 - this.passed[i]) * share;
          if (this.passed[i] < 0.5) continue;
        }
        labels[i] = this.id;
      }
    }
  }

  end() {
    work.busy = false;
    commit(this.before, this.label);
  }

  cancel() {
    work.labels.set(this.before);
    work.busy = false;
    redraw();
  }
}

class Brush extends Disc {
  label = "Brush";
  value() { return state.object; }
  ready() { return mayPaint(); }
}

class Eraser extends Disc {
  label = "Erase";
  value() { return 0; }
  ready() { return work.frame === state.frame; }
}

// What is done at once, at a click.
function change(label, action, id = state.object) {
  const before = work.labels.slice(), locked = lockedIds();
  action((i) => { if (!locked.has(work.labels[i])) work.labels[i] = id; });
  redraw();
  commit(before, label);
}

class Fill {
  ready() { return mayPaint(); }
  begin(x, y) {
    const { width, height } = state.session, labels = work.labels.slice();
    const [px, py] = [Math.floor(x), Math.floor(y)];
    if (px < 0 || py < 0 || px >= width || py >= height) return;
    const id = labels[py * width + px];
    if (id !== state.object) change("Fill", (set) => flood(width, height, px, py, (i) => labels[i] === id, set));
  }
}

class Wand {
  ready() { return mayPaint(); }
  begin(x, y) {
    const { width, height } = state.session, [px, py] = [Math.floor(x), Math.floor(y)];
    if (px < 0 || py < 0 || px >= width || py >= height) return;
    const pixels = pixelsAround(), at = 4 * (py * width + px), most = state.tolerance ** 2;
    const [r, g, b] = pixels.subarray(at, at + 3);
    const like = (i) => (pixels[4 * i] - r) ** 2 + (pixels[4 * i + 1] - g) ** 2 + (pixels[4 * i + 2] - b) ** 2 <= most;
    change("Wand", (set) => flood(width, height, px, py, like, set));
  }
}

class Polygon {
  corners = [];
  ready() { return mayPaint(); }
  begin(x, y, event) {
    if (event.detail >= 2 && this.corners.length > 2) { this.close(); return; }
    this.corners.push([x, y]);
    setDraft(this.corners);
  }
  hover(x, y) { if (this.corners.length) setDraft([...this.corners, [x, y]]); }
  back() { this.corners.pop(); setDraft(this.corners); }
  giveUp() { this.corners = []; setDraft([]); }

  close() {
    const corners = this.corners;
    this.giveUp();
    if (corners.length < 3 || !mayPaint()) return;
    const { width, height } = state.session;
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { willReadFrequently: true });
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(x, y);
    context.fill("evenodd");
    const { data } = context.getImageData(0, 0, width, height);
    change("Polygon", (set) => { for (let i = 0; i < width * height; i++) if (data[4 * i + 3] >= 128) set(i); });
  }
}

export const polygon = new Polygon();
export const tools = { brush: new Brush(), eraser: new Eraser(), fill: new Fill(), wand: new Wand(), polygon };
export { change };
