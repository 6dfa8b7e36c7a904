// The keys, in one table from which the help is made.
import { add, choose } from "./objects.js";
import { goToDoubt, go, play } from "./timeline.js";
import { toggle } from "./following.js";
import { chooseTool, setRange } from "./panels.js";
import { fit, zoom } from "./stage.js";
import { hold } from "./pointer.js";
import { polygon } from "./tools.js";
import { clear, copy, redo, undo } from "./history.js";
import { $, element, emit, state } from "./state.js";

const look = (action) => () => { emit("look"); action(); };
const step = (count) => look(() => go(state.frame + count));
const tool = (name) => () => chooseTool(name);
const resize = (factor) => () => setRange("size", Math.round(Math.max(1, state.size * factor + Math.sign(factor - 1))));

function nextObject() {
  const place = state.objects.findIndex((entry) => entry.id === state.object);
  if (state.objects.length) choose(state.objects[(place + 1) % state.objects.length].id);
}

function pressEnter() {
  if (polygon.corners.length) polygon.close();
  else toggle();
}

const KEYS = [
  ["b", "Brush", tool("brush")], ["e", "Eraser", tool("eraser")], ["p", "Polygon", tool("polygon")], ["f", "Fill", tool("fill")],
  ["w", "Wand", tool("wand")], ["h", "Move the picture", tool("hand")],
  ["[ ]", "Smaller or larger brush", null], ["[", null, resize(0.8)], ["]", null, resize(1.25)],
  ["c", "Copy the chosen object from the frame before", copy],
  ["Delete", "Take the chosen object out of this frame", clear],
  ["a", "Add an object", add], ["o", "Next object", nextObject],
  ["Ctrl+Z", "Undo", null], ["Ctrl+Shift+Z", "Redo", null],
  ["← →", "Frame before, next frame; with Shift ten", null],
  ["ArrowLeft", null, step(-1)], ["ArrowRight", null, step(1)], ["Shift+ArrowLeft", null, step(-10)], ["Shift+ArrowRight", null, step(10)],
  ["Home", "First frame", look(() => go(0))], ["End", "Last frame", look(() => go(Infinity))],
  ["k", "Play or pause", look(() => play())], ["n", "Next doubtful frame", look(goToDoubt)],
  ["Enter", "Follow or stop; closes a polygon", pressEnter],
  ["v", "Last two masks side by side", () => $("#compare").click()],
  ["m", "Next map of what the network sees", nextMap],
  ["Space", "Held: move the picture", null], ["0", "Fit the picture", fit], ["+ -", "Larger, smaller", null],
  ["+", null, () => zoom(1.4)], ["=", null, () => zoom(1.4)], ["-", null, () => zoom(1 / 1.4)],
  ["Escape", "Give up a polygon", () => polygon.giveUp()], ["Backspace", "Take a polygon's last corner back", () => polygon.back()],
  ["?", "This list", () => $("#help-dialog").showModal()],
];

function nextMap() {
  const maps = $("#maps");
  maps.selectedIndex = (maps.selectedIndex + 1) % maps.options.length;
  maps.dispatchEvent(new Event("change"));
}

const actions = new Map(KEYS.filter(([, , action]) => action).map(([key, , action]) => [key, action]));
const typing = ({ tagName, type }) => tagName === "SELECT" || (tagName === "INPUT" && ["text", "number"].includes(type));

document.addEventListener("keydown", (event) => {
  if (!state.session || document.querySelector("dialog[open]") || typing(event.target)) return;
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && pressed === "z") {
    event.preventDefault();
    if (event.shiftKey) redo();
    else undo();
    return;
  }
  if ((event.ctrlKey || event.metaKey) && pressed === "y") { event.preventDefault(); redo(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const focused = event.target !== document.body;
  if (focused && ((pressed === "Enter" || pressed === " ") && event.target.id !== "track")) return;
  // Ranges and lists of choices have the arrows for themselves.
  if (event.target.tagName === "INPUT" && (pressed.startsWith("Arrow") || pressed === "Home" || pressed === "End")) return;
  if (pressed === " ") { event.preventDefault(); hold(true); return; }
  const action = actions.get(`${event.shiftKey && pressed.startsWith("Arrow") ? "Shift+" : ""}${pressed}`);
  if (!action) return;
  event.preventDefault();
  action();
});
document.addEventListener("keyup", (event) => { if (event.key === " ") hold(false); });

const spelled = (key) => key.split(/(?<=.) (?=.)/).flatMap((one, place) => [place ? " " : "", element("kbd", { textContent: one.length === 1 ? one.toUpperCase() : one })]);
for (const [key, told] of KEYS) {
  if (told) $("#shortcuts").append(element("div", {}, element("dt", {}, ...spelled(key)), element("dd", { textContent: told })));
}
$("#help").addEventListener("click", () => $("#help-dialog").showModal());
