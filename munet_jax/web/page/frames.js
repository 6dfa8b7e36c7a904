// Pictures and masks by frame, asked for once; what was looked at last stays.
import { ask } from "./server.js";
import { decodeLabels } from "./labels.js";
import { rowOf, state } from "./state.js";

class Recent {
  constructor(most) { this.most = most; this.found = new Map(); }
  get(key, make) {
    const held = this.found.get(key);
    if (held) {
      this.found.delete(key);
      this.found.set(key, held);
      return held;
    }
    const made = make();
    this.found.set(key, made);
    made.catch(() => this.found.delete(key));
    if (this.found.size > this.most) this.found.delete(this.found.keys().next().value);
    return made;
  }
  set(key, value) { this.found.delete(key); this.found.set(key, Promise.resolve(value)); }
}

const pictures = new Recent(24), masks = new Recent(24);
const from = (path) => `${path}?s=${state.session.key}`;

export function picture(frame) {
  return pictures.get(frame, async () => createImageBitmap(await (await ask("GET", from(`/api/frames/${frame}`))).blob()));
}

export function labelsOf(version) {
  const { width, height } = state.session;
  if (version === null) return Promise.resolve(new Uint8Array(width * height));
  return masks.get(version, async () => decodeLabels(await (await ask("GET", from(`/api/masks/${version}`))).blob(), width, height));
}

export const keep = (version, labels) => masks.set(version, labels.slice());
export const thumbnail = (frame) => from(`/api/thumbnails/${frame}`);

export async function mapOf(kind, frame) {
  const answer = await ask("GET", from(`/api/maps/${kind}/${frame}`));
  return { scale: JSON.parse(answer.headers.get("x-scale")), bitmap: await createImageBitmap(await answer.blob()) };
}

export function forget() { pictures.found.clear(); masks.found.clear(); }

// What a player needs next.
export function prepare(frame) {
  for (const next of [frame + 1, frame + 2, frame - 1]) {
    if (next < 0 || next >= state.session.frames) continue;
    picture(next).catch(() => {});
    labelsOf(rowOf(next).version).catch(() => {});
  }
}
