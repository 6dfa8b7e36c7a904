// What the page knows, and who wants to hear of changes.
export const state = {
  session: null, // as the server describes it
  objects: [],
  rows: new Map(), // by frame: {version, marked, stats}
  history: { undo: null, redo: null },
  status: { state: "loading" },
  frame: 0,
  object: null, // id of the chosen one
  tool: "brush",
  size: 24, hardness: 1, tolerance: 28,
  style: "fill", opacity: 0.45, map: "",
  watch: true, // show frames as they are made
  playing: false,
};
export const PAGE = Array.from(crypto.getRandomValues(new Uint8Array(8)), (x) => x.toString(16).padStart(2, "0")).join("");

const heard = new Map();

export function on(names, listener) {
  for (const name of names.split(" ")) heard.set(name, [...(heard.get(name) ?? []), listener]);
}

export function emit(name, detail) {
  for (const listener of heard.get(name) ?? []) listener(detail);
}

export const $ = (selector) => document.querySelector(selector);
export const objectOf = (id) => state.objects.find((entry) => entry.id === id);
export const rowOf = (frame) => state.rows.get(frame) ?? { version: null, marked: false, stats: {} };

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
}
