// Undo and redo, which the server keeps, and what is copied from the frame before.
import { send } from "./server.js";
import { labelsOf } from "./frames.js";
import { drained, mayPaint, work } from "./painting.js";
import { change } from "./tools.js";
import { $, on, rowOf, state } from "./state.js";
import { tell } from "./notices.js";

async function swap(path, word) {
  if (work.busy) return;
  await drained();
  try {
    const { label } = await send(path);
    tell(label === null ? `Nothing to ${word.toLowerCase()}` : `${word}: ${label}`);
  } catch (error) {
    tell(error.message, true);
  }
}

export const undo = () => swap("/api/undo", "Undo");
export const redo = () => swap("/api/redo", "Redo");

export async function copy() {
  if (!mayPaint()) return;
  const { frame } = state, { version } = rowOf(frame - 1);
  if (version === null) { tell("The frame before has no mask", true); return; }
  try {
    const labels = await labelsOf(version);
    if (frame === work.frame) change("Copy", (set) => labels.forEach((id, i) => { if (id === state.object) set(i); }));
  } catch (error) {
    tell(error.message, true);
  }
}

// The chosen object is not in this frame.
export function clear() {
  if (mayPaint()) change("Clear", (set) => work.labels.forEach((id, i) => { if (id === state.object) set(i); }), 0);
}

$("#clear").addEventListener("click", clear);
$("#undo").addEventListener("click", undo);
$("#redo").addEventListener("click", redo);
$("#copy").addEventListener("click", copy);
on("history", () => {
  for (const [name, word] of [["undo", "Undo"], ["redo", "Redo"]]) {
    const label = state.history[name];
    $(`#${name}`).disabled = label === null;
    $(`#${name}`).title = `${word}${label ? `: ${label}` : ""} (Ctrl+${name === "redo" ? "Shift+" : ""}Z)`;
  }
});
