// The picture with what lies over it: where it is shown, how large, and what the pointer does there.
import { colourLabels, colourTables, drawBoth } from "./drawing.js";
import { labelsOf, mapOf, picture, prepare } from "./frames.js";
import { take, work } from "./painting.js";
import { ask, Unreachable } from "./server.js";
import { $, emit, on, rowOf, state } from "./state.js";
import { tell } from "./notices.js";

const LARGEST = 32;
const stage = $("#stage"), view = $("#view"), cursor = $("#cursor");
const pictureCanvas = $("#picture"), mapCanvas = $("#map"), maskCanvas = $("#mask");
const at = { x: 0, y: 0, scale: 1, fitted: true };
let pixels = null, coloured = null, tables = null, bitmap = null, shows = 0, maps = 0;

export function setUp() {
  const { width, height } = state.session;
  for (const canvas of [pictureCanvas, mapCanvas, maskCanvas]) Object.assign(canvas, { width, height });
  view.style.width = `${width}px`;
  view.style.height = `${height}px`;
  $("#draft").setAttribute("viewBox", `0 0 ${width} ${height}`);
  pixels = new ImageData(width, height);
  coloured = new Uint32Array(pixels.data.buffer);
  fit();
}

// Where it is shown.

function place() {
  view.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.scale})`;
  view.classList.toggle("sharp", at.scale > 3);
  $("#zoom").textContent = `${Math.round(at.scale * 100)}%`;
  sizeCursor();
}

export function fit() {
  const { width, height } = state.session, { clientWidth, clientHeight } = stage;
  if (!clientWidth || !clientHeight) return;
  const room = clientWidth < 500 ? 0 : 24;
  at.scale = Math.min((clientWidth - room) / width, (clientHeight - room) / height);
  at.x = (clientWidth - width * at.scale) / 2;
  at.y = (clientHeight - height * at.scale) / 2;
  at.fitted = true;
  place();
  redraw();
}

export function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const smallest = 0.5 * Math.min(stage.clientWidth / state.session.width, stage.clientHeight / state.session.height, 2);
  const scale = Math.min(LARGEST, Math.max(smallest, at.scale * factor));
  at.x = x - ((x - at.x) * scale) / at.scale;
  at.y = y - ((y - at.y) * scale) / at.scale;
  const before = thickness();
  at.scale = scale;
  at.fitted = false;
  place();
  if (thickness() !== before) redraw();
}

export function move(dx, dy) {
  at.x += dx;
  at.y += dy;
  at.fitted = false;
  place();
}

export function toPicture(event) {
  const box = stage.getBoundingClientRect();
  return [(event.clientX - box.left - at.x) / at.scale, (event.clientY - box.top - at.y) / at.scale];
}

new ResizeObserver(() => { if (state.session && at.fitted) fit(); }).observe(stage);

// What is shown.

const thickness = () => Math.min(8, Math.max(1, Math.round(1.6 / at.scale)));

export function redraw(box) {
  if (!work.labels || !pixels) return;
  const { width, height } = state.session, thick = thickness();
  const [left, top, right, bottom] = box ?? [0, 0, width, height];
  const wide = [Math.max(0, left - thick), Math.max(0, top - thick), Math.min(width, right + thick), Math.min(height, bottom + thick)];
  if (wide[2] <= wide[0] || wide[3] <= wide[1]) return;
  tables ??= colourTables();
  colourLabels(coloured, work.labels, width, height, wide, tables, thick);
  maskCanvas.getContext("2d").putImageData(pixels, 0, 0, wide[0], wide[1], wide[2] - wide[0], wide[3] - wide[1]);
}

export async function show(frame) {
  frame = Math.max(0, Math.min(state.session.frames - 1, Math.round(frame)));
  const number = ++shows, { version } = rowOf(frame);
  state.frame = frame;
  emit("frame");
  const late = setTimeout(() => { $("#loading").hidden = false; }, 250);
  try {
    const [found, labels] = await Promise.all([picture(frame), labelsOf(version)]);
    if (number !== shows) return;
    bitmap = found;
    pictureCanvas.getContext("2d").drawImage(found, 0, 0, pictureCanvas.width, pictureCanvas.height);
    take(frame, version, labels);
    redraw();
    emit("shown");
    if (rowOf(frame).version !== version) emit("rows", [frame]);
    prepare(frame);
  } catch (error) {
    if (number === shows && !(error instanceof Unreachable)) tell(error.message, true);
  } finally {
    clearTimeout(late);
    if (number === shows) $("#loading").hidden = true;
  }
}

export function pixelsAround() {
  return pictureCanvas.getContext("2d").getImageData(0, 0, pictureCanvas.width, pictureCanvas.height).data;
}

export function setDraft(corners) {
  $("#draft polygon").setAttribute("points", corners.map(([x, y]) => `${x},${y}`).join(" "));
  const dots = corners.map(([x, y]) => {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [name, value] of Object.entries({ cx: x, cy: y, r: 3.5 / at.scale })) dot.setAttribute(name, value);
    return dot;
  });
  $("#draft g").replaceChildren(...dots);
}

// The brush's outline, at the pointer.

function sizeCursor() {
  const length = `${Math.max(3, state.size * at.scale)}px`;
  cursor.style.width = cursor.style.height = length;
}

export function moveCursor(event) {
  const discs = state.tool === "brush" || state.tool === "eraser";
  cursor.hidden = !discs || event === null || event.pointerType === "touch";
  if (cursor.hidden) return;
  const box = stage.getBoundingClientRect();
  cursor.style.transform = `translate(${event.clientX - box.left}px, ${event.clientY - box.top}px) translate(-50%, -50%)`;
}

// What the network sees.

async function showMap() {
  const number = ++maps, kind = state.map, { frame } = state;
  const context = mapCanvas.getContext("2d");
  $("#legend").hidden = !kind;
  mapCanvas.hidden = !kind;
  context.clearRect(0, 0, mapCanvas.width, mapCanvas.height);
  if (!kind) return;
  $("#legend-name").textContent = "Looking …";
  $("#legend div").hidden = true;
  try {
    const { bitmap: found, scale } = await mapOf(kind, frame);
    if (number !== maps) return;
    context.globalAlpha = 0.75;
    context.drawImage(found, 0, 0, mapCanvas.width, mapCanvas.height);
    showLegend(kind, scale);
  } catch (error) {
    if (number === maps) $("#legend-name").textContent = error.message;
  }
}

function showLegend(kind, { low, high }) {
  const [name, left, right] = {
    uncertainty: ["Best match in the frame before, as cosine", `${low.toFixed(2)} unsure`, `${high.toFixed(2)} sure`],
    displacement: ["Where each pixel was in the frame before", "white: nowhere else", `rim: ${high.toFixed(1)} pixels away or more`],
    attention: ["How much the motion feature is let through", "0 none", "1 all"],
  }[kind];
  $("#legend").classList.toggle("wheel", kind === "displacement");
  $("#legend div").hidden = false;
  $("#legend-name").textContent = name;
  $("#legend-low").textContent = left;
  $("#legend-high").textContent = right;
  $("#legend img").src = `/api/legends/${kind}`;
}

// The last two masks side by side.

async function showPair() {
  const on = $("#compare").getAttribute("aria-pressed") === "true";
  $("#pair").hidden = !on;
  if (!on || !bitmap || !work.labels) return;
  const { frame } = state, { version } = await ask("GET", `/api/before/${frame}`);
  const before = await labelsOf(version);
  if (frame !== state.frame) return;
  const [left, right] = document.querySelectorAll("#pair canvas");
  drawBoth(left, bitmap, before);
  drawBoth(right, bitmap, work.labels);
}

$("#compare").addEventListener("click", ({ currentTarget: button }) => {
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  showPair().catch((error) => tell(error.message, true));
});
on("shown labels", () => { showPair().catch(() => {}); });
on("labels", () => redraw());
on("shown map", showMap);
on("size", sizeCursor);
on("objects display", () => { tables = null; redraw(); });
