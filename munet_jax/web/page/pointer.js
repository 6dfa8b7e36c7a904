// The pointer over the picture: painting, moving and zooming, with a mouse, a pen or fingers.
import { fit, move, moveCursor, toPicture, zoom } from "./stage.js";
import { polygon, tools } from "./tools.js";
import { $, emit, on, state } from "./state.js";

const stage = $("#stage");
const fingers = new Map();
let stroke = null, moving = null, space = false;

const middle = () => {
  const [a, b] = [...fingers.values()];
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
};

stage.addEventListener("pointerdown", (event) => {
  if (event.target.closest("#pair")) return;
  if (event.button === 2) return;
  event.preventDefault();
  document.activeElement?.blur();
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (fingers.size === 2) {
    stroke?.cancel?.();
    stroke = null;
    moving = middle();
    return;
  }
  if (fingers.size > 2) return;
  const tool = tools[state.tool];
  if (!tool || space || event.button === 1) {
    moving = { x: event.clientX, y: event.clientY };
    stage.classList.add("moving");
    return;
  }
  emit("pause");
  if (!tool.ready()) return;
  if (tool.move) stroke = tool;
  tool.begin(...toPicture(event), event);
});

stage.addEventListener("pointermove", (event) => {
  moveCursor(event);
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (moving && fingers.size === 2) {
    const now = middle(), box = stage.getBoundingClientRect();
    move(now.x - moving.x, now.y - moving.y);
    if (moving.apart) zoom(now.apart / moving.apart, now.x - box.left, now.y - box.top);
    moving = now;
  } else if (moving && fingers.size === 1) {
    move(event.clientX - moving.x, event.clientY - moving.y);
    moving = { x: event.clientX, y: event.clientY };
  } else if (stroke) {
    for (const each of event.getCoalescedEvents?.() ?? [event]) stroke.move(...toPicture(each));
  } else tools[state.tool]?.hover?.(...toPicture(event));
});

function lift(event) {
  if (!fingers.delete(event.pointerId)) return;
  if (stroke) stroke.end();
  stroke = null;
  if (fingers.size < 2) moving = null;
  if (!space) stage.classList.remove("moving");
}
stage.addEventListener("pointerup", lift);
stage.addEventListener("pointercancel", lift);
stage.addEventListener("pointerleave", () => moveCursor(null));
stage.addEventListener("dblclick", (event) => { if (state.tool === "polygon") { event.preventDefault(); polygon.close(); } });

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = stage.getBoundingClientRect(), step = event.deltaMode ? 20 * event.deltaY : event.deltaY;
  zoom(Math.exp(-Math.max(-120, Math.min(120, step)) / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

export function hold(down) {
  space = down;
  stage.classList.toggle("moving", down);
}

$("#zoom").addEventListener("click", fit);
$("#zoom-in").addEventListener("click", () => zoom(1.4));
$("#zoom-out").addEventListener("click", () => zoom(1 / 1.4));
on("frame tool", () => polygon.giveUp());
