// The list of objects.
import { ask, send } from "./server.js";
import { drained } from "./painting.js";
import { $, element, emit, icon, on, state } from "./state.js";
import { tell } from "./notices.js";

const list = $("#objects");

const tried = (action) => Promise.resolve(action).catch((error) => tell(error.message, true));
const change = (id, changes) => tried(ask("PATCH", `/api/objects/${id}`, changes));

export function choose(id) {
  state.object = id;
  emit("chosen");
}

export async function add() {
  const answer = await tried(send("/api/objects"));
  if (answer) choose(answer.id);
}

async function remove(entry) {
  await drained();
  await tried(ask("DELETE", `/api/objects/${entry.id}`));
  tell(`${entry.name} is removed; undo brings it back`);
}

function button(entry, { field, shown, names, titles }) {
  const on = entry[field];
  return element("button", {
    className: "icon", ariaPressed: String(on), title: titles[Number(on)], ariaLabel: `${titles[Number(on)]}: ${entry.name}`,
    onclick: (event) => { event.stopPropagation(); change(entry.id, { [field]: !on }); },
  }, icon(shown[Number(on)]));
}

const EYE = { field: "visible", shown: ["hidden", "eye"], titles: ["Show", "Hide"] };
const LOCK = { field: "locked", shown: ["open", "lock"], titles: ["Lock: nothing changes its pixels", "Release"] };

function line(entry) {
  const name = element("input", { className: "name", type: "text", value: entry.name, maxLength: 60, ariaLabel: "Name" });
  name.addEventListener("change", () => {
    if (name.value.trim()) change(entry.id, { name: name.value.trim() });
    else name.value = entry.name;
  });
  name.addEventListener("keydown", (event) => { if (event.key === "Enter") name.blur(); });
  const colour = element("input", { type: "color", value: entry.colour, title: "Colour", ariaLabel: `Colour of ${entry.name}` });
  colour.addEventListener("change", () => change(entry.id, { colour: colour.value }));
  const bin = element("button", {
    className: "icon", title: "Remove from all frames", ariaLabel: `Remove ${entry.name}`,
    onclick: (event) => { event.stopPropagation(); remove(entry); },
  }, icon("bin"));
  const made = element("li", { onclick: () => choose(entry.id) }, colour, name, button(entry, EYE), button(entry, LOCK), bin);
  made.dataset.id = entry.id;
  name.addEventListener("focus", () => choose(entry.id));
  made.classList.toggle("chosen", entry.id === state.object);
  made.classList.toggle("off", !entry.visible);
  return made;
}

const controls = (item) => [...item.querySelectorAll("input, button")];

function redraw() {
  const active = document.activeElement, item = active.closest?.("#objects li");
  if (item && active.type === "text") {
    for (const each of list.children) each.classList.toggle("chosen", Number(each.dataset.id) === state.object);
    return;
  }
  const place = item ? controls(item).indexOf(active) : -1;
  const empty = element("li", { className: "empty", textContent: "None yet: add one, then paint it in a frame." });
  list.replaceChildren(...(state.objects.length ? state.objects.map(line) : [empty]));
  // Who works with the keyboard stays where they are.
  const again = item && [...list.children].find((each) => each.dataset.id === item.dataset.id);
  if (again && place >= 0) controls(again)[place].focus();
}

redraw();
$("#add").addEventListener("click", add);
on("objects chosen", redraw);
