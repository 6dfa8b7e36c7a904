// How things are shown, this frame's label map, light and dark.
import { ask } from "./server.js";
import { drained } from "./painting.js";
import { $, emit, on, state } from "./state.js";
import { tell } from "./notices.js";

const NAMES = { brush: "Brush", eraser: "Eraser", polygon: "Polygon", fill: "Fill", wand: "Wand", hand: "Move" };

export function chooseTool(name) {
  state.tool = name;
  $("#stage").dataset.tool = name;
  $("#tool-name").textContent = NAMES[name];
  for (const button of document.querySelectorAll("#tools [data-tool]")) {
    button.setAttribute("aria-checked", button.dataset.tool === name);
    button.tabIndex = button.dataset.tool === name ? 0 : -1;
  }
  for (const part of document.querySelectorAll("#options [data-for]")) part.hidden = !part.dataset.for.split(" ").includes(name);
  emit("tool");
}

for (const button of document.querySelectorAll("#tools [data-tool]")) button.addEventListener("click", () => chooseTool(button.dataset.tool));
$("#tools").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  const buttons = [...document.querySelectorAll("#tools [data-tool]")], place = buttons.indexOf(document.activeElement);
  if (!step || place < 0) return;
  event.preventDefault();
  event.stopPropagation();
  const next = buttons[(place + step + buttons.length) % buttons.length];
  chooseTool(next.dataset.tool);
  next.focus();
});

const RANGES = {
  size: [(x) => x, (x) => x, "size"],
  hardness: [(x) => x / 100, (x) => `${x}%`, "size"],
  tolerance: [(x) => x, (x) => x, "size"],
  opacity: [(x) => x / 100, (x) => x, "display"],
};

function read(name) {
  const [value, shown, event] = RANGES[name], input = $(`#${name}`);
  state[name] = value(Number(input.value));
  const output = $(`output[for="${name}"]`);
  if (output) output.textContent = shown(input.value);
  emit(event);
}
for (const name of Object.keys(RANGES)) {
  $(`#${name}`).addEventListener("input", () => read(name));
  read(name);
}

export function setRange(name, value) {
  $(`#${name}`).value = value;
  read(name);
}

for (const input of document.querySelectorAll('input[name="style"]')) {
  input.addEventListener("change", () => { state.style = input.value; emit("display"); });
}
$("#maps").addEventListener("change", () => { state.map = $("#maps").value; emit("map"); });

export function showTheme(name) {
  document.documentElement.dataset.theme = name;
  emit("theme");
}
let kept = null;
try { kept = localStorage.getItem("munet theme"); } catch { /* it is only not kept */ }
showTheme(kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("#theme").addEventListener("click", () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("munet theme", name); } catch { /* likewise */ }
  showTheme(name);
});

$("#import").addEventListener("click", () => $("#import-file").click());
$("#import-file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  await drained();
  try {
    await ask("PUT", `/api/labels/${state.frame}?name=${encodeURIComponent(file.name)}`, file);
    tell(`${file.name} is the mask of frame ${state.frame} now`);
  } catch (error) {
    tell(error.message, true);
  }
});
$("#unmark").addEventListener("click", () => ask("DELETE", `/api/marks/${state.frame}`).catch((error) => tell(error.message, true)));

function saved(text, waits) {
  $("#saved").textContent = text;
  $("#saved").classList.toggle("waiting", waits);
}
export { saved };
on("tool", () => { $("#cursor").hidden = true; });
