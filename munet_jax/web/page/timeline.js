// Where in the video one is, what is known of each frame, and going elsewhere.
import { thumbnail } from "./frames.js";
import { doubts, nextDoubt } from "./doubt.js";
import { show } from "./stage.js";
import { work } from "./painting.js";
import { $, element, emit, on, rowOf, setIcon, state } from "./state.js";
import { tell } from "./notices.js";

const track = $("#track"), canvas = $("#curves"), number = $("#number");
let doubtful = new Map(), drawn = false, timer = null, thumbnails = "";

const across = (frame) => ((frame + 0.5) / state.session.frames) * track.clientWidth;

export function setUp() {
  number.max = state.session.frames - 1;
  $("#count").textContent = `of ${state.session.frames - 1}`;
  track.setAttribute("aria-valuemax", state.session.frames - 1);
  thumbnails = "";
  fill();
  redraw();
}

function fill() {
  const { frames, width, height } = state.session;
  const count = Math.max(1, Math.min(frames, Math.floor(track.clientWidth / Math.max(46, (46 * width) / height))));
  if (thumbnails === `${state.session.key} ${count}`) return;
  thumbnails = `${state.session.key} ${count}`;
  const numbers = Array.from({ length: count }, (_, k) => Math.floor(((k + 0.5) * frames) / count));
  $("#thumbnails").replaceChildren(...numbers.map((frame) => element("img", { src: thumbnail(frame), alt: "", draggable: false })));
}

export function go(frame) {
  state.playing = false;
  show(frame);
}

// Curves and marks: a few times a second while masks come in, so that a long video leaves time for the brush.
export function redraw() {
  if (drawn || !state.session) return;
  drawn = true;
  const later = () => requestAnimationFrame(() => { drawn = false; draw(); });
  if (state.status.state === "following") setTimeout(later, 200);
  else later();
}

function draw() {
  const { frames } = state.session, style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const ratio = devicePixelRatio, width = track.clientWidth, height = 66, top = 16;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  doubtful = doubts(state.rows, state.objects, frames);
  const cell = width / frames, object = state.objects.find((entry) => entry.id === state.object);
  // What has a mask, what is doubtful, what is marked.
  for (const [frame, row] of state.rows) {
    if (row.version === null) continue;
    context.fillStyle = doubtful.has(frame) ? colour("doubt") : object?.colour ?? colour("quiet");
    context.globalAlpha = doubtful.has(frame) ? 1 : 0.55;
    context.fillRect(frame * cell, 5, Math.max(1, cell + 0.3), 4);
  }
  context.globalAlpha = 1;
  if (object) {
    const rows = [...state.rows].filter(([, row]) => row.stats[object.id]).sort(([a], [b]) => a - b);
    const largest = Math.max(1, ...rows.map(([, row]) => row.stats[object.id][0]));
    const curves = [["area", 0, largest], ["sure", 2, 1], ["confidence", 1, 1]];
    for (const [name, place, full] of curves) {
      context.strokeStyle = context.fillStyle = colour(name);
      context.lineWidth = 1.6;
      context.beginPath();
      let last = null;
      for (const [frame, row] of rows) {
        const value = row.stats[object.id][place];
        if (value === null || value === undefined) { last = null; continue; }
        const x = (frame + 0.5) * cell, y = top + (1 - value / full) * (height - top - 5);
        if (last === frame - 1) context.lineTo(x, y);
        else { context.fillRect(x - 1, y - 1, 2, 2); context.moveTo(x, y); }
        last = frame;
      }
      context.stroke();
    }
  }
  context.fillStyle = colour("mark");
  for (const [frame, row] of state.rows) {
    if (!row.marked) continue;
    const x = (frame + 0.5) * cell;
    context.beginPath();
    context.moveTo(x, 1);
    context.lineTo(x + 5, 7);
    context.lineTo(x, 13);
    context.lineTo(x - 5, 7);
    context.fill();
  }
  describe();
}

function describe() {
  const { frame } = state, row = rowOf(frame), why = doubtful.get(frame);
  $("#playhead").style.transform = `translateX(${across(frame) - 1}px)`;
  if (document.activeElement !== number) number.value = frame;
  track.setAttribute("aria-valuenow", frame);
  const known = row.version === null ? "no mask" : row.marked ? "marked by you" : "followed";
  $("#frame-state").textContent = $("#frame-state").title = why ? why.join("; ") : known;
  $("#doubt").disabled = doubtful.size === 0;
  $("#unmark").disabled = !row.marked;
  $("#export-labels").setAttribute("aria-disabled", row.version === null);
  if (row.version === null) $("#export-labels").removeAttribute("href");
  else $("#export-labels").href = `/api/labels/${frame}`;
}

export function goToDoubt() {
  const next = nextDoubt(doubtful, state.frame);
  if (next === null) { tell("No frame is doubtful"); return; }
  go(next);
}

// Playing: a frame is shown when it is there, so a slow one is waited for.
export function play(on = !state.playing) {
  state.playing = on;
  setIcon($("#play"), on ? "pause" : "play");
  $("#play").setAttribute("aria-label", on ? "Pause" : "Play");
  clearTimeout(timer);
  if (!on) return;
  if (state.frame >= state.session.frames - 1) show(0);
  const period = 1000 / Math.min(60, Math.max(1, state.session.rate));
  let due = performance.now() + period;
  const tick = () => {
    if (!state.playing) { play(false); return; }
    if (state.frame >= state.session.frames - 1) { play(false); return; }
    if (work.frame === state.frame) show(state.frame + 1);
    due = Math.max(due + period, performance.now());
    timer = setTimeout(tick, due - performance.now());
  };
  timer = setTimeout(tick, period);
}

const frameAt = (event) => Math.floor(((event.clientX - track.getBoundingClientRect().left) / track.clientWidth) * state.session.frames);
track.addEventListener("pointerdown", (event) => { track.setPointerCapture(event.pointerId); emit("look"); go(frameAt(event)); });
track.addEventListener("pointermove", (event) => { if (track.hasPointerCapture(event.pointerId)) go(frameAt(event)); });
for (const [button, step] of [["#previous", -1], ["#next", 1]]) $(button).addEventListener("click", () => { emit("look"); go(state.frame + step); });
$("#play").addEventListener("click", () => { emit("look"); play(); });
$("#doubt").addEventListener("click", () => { emit("look"); goToDoubt(); });
number.addEventListener("change", () => { emit("look"); go(Number(number.value)); });
new ResizeObserver(() => { if (state.session) { fill(); redraw(); } }).observe(track);
on("frame", describe);
on("rows objects chosen theme", redraw);
on("pause", () => { if (state.playing) play(false); });
