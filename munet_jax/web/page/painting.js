// The mask of the frame at hand while it is painted, and strokes on their way to the server, none of which is lost.
import { ask, Refused } from "./server.js";
import { applyRuns, runsBetween } from "./labels.js";
import { keep, labelsOf } from "./frames.js";
import { emit, objectOf, on, rowOf, state } from "./state.js";
import { tell } from "./notices.js";

export const work = { frame: -1, version: null, labels: null, busy: false, stale: false };
const queue = [];
let sending = false;

export const waiting = () => queue.length;
const waitsFor = (frame) => queue.some((stroke) => stroke.frame === frame);

export function take(frame, version, labels) {
  Object.assign(work, { frame, version, labels: labels.slice(), stale: false });
  for (const stroke of queue) if (stroke.frame === frame) applyRuns(work.labels, stroke.runs);
}

// Whether the chosen object can be painted now; says why where it cannot.
export function mayPaint() {
  if (work.frame !== state.frame) return false;
  const chosen = objectOf(state.object);
  if (!chosen) { tell("Add an object first, with the button in the list", true); return false; }
  if (chosen.locked) { tell(`${chosen.name} is locked`, true); return false; }
  return true;
}

export const lockedIds = () => new Set(state.objects.filter((entry) => entry.locked).map((entry) => entry.id));

export function commit(before, label) {
  const runs = runsBetween(before, work.labels);
  if (!runs.length) return;
  queue.push({ frame: work.frame, runs, label });
  emit("saving");
  flush();
}

async function flush() {
  if (sending) return;
  sending = true;
  while (queue.length) {
    const { frame, runs, label } = queue[0];
    let answer;
    try {
      answer = await ask("POST", `/api/strokes/${frame}`, runs, { "x-label": label });
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        queue.shift(); // it can never be taken, as of an object that is gone
        tell(error.message, true);
        work.stale = true;
        continue;
      }
      if (error instanceof Refused) emit("not-saved", error.message);
      setTimeout(flush, 2000);
      break;
    }
    queue.shift();
    emit("is-saved");
    receive(frame, answer);
  }
  sending = false;
  emit("saving");
  refresh();
}

function receive(frame, { before, version, marked, stats }) {
  state.rows.set(frame, { version, marked, stats });
  emit("rows", [frame]);
  if (frame !== work.frame) return;
  if (before !== work.version) work.stale = true; // another page, or the network, changed it meanwhile
  work.version = version;
  if (!work.busy && !work.stale && !waitsFor(frame)) keep(version, work.labels);
}

// Take what the server has, where that is another mask and nothing of ours is on its way.
export async function refresh() {
  const { frame } = work, { version } = rowOf(frame);
  if (work.busy || waitsFor(frame) || frame !== state.frame) return;
  if (version === work.version && !work.stale) return;
  try {
    const labels = await labelsOf(version);
    if (frame !== state.frame || work.busy || waitsFor(frame) || rowOf(frame).version !== version) return;
    take(frame, version, labels);
    emit("labels");
  } catch (error) {
    if (error instanceof Refused) tell(error.message, true);
  }
}

export async function drained() {
  while (queue.length || sending) await new Promise((done) => setTimeout(done, 20));
}

on("connected", flush);
on("rows", (frames) => { if (frames.includes(work.frame)) refresh(); });
