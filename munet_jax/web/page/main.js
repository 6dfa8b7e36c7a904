// Begins the page, and keeps it in step with the server.
import { ask, listen } from "./server.js";
import { forget } from "./frames.js";
import * as stage from "./stage.js";
import * as timeline from "./timeline.js";
import { waiting, work } from "./painting.js";
import { chooseTool, saved } from "./panels.js";
import { showExport } from "./exporting.js";
import { showOpening } from "./opening.js";
import { banner, tell } from "./notices.js";
import { $, PAGE, emit, on, state } from "./state.js";
import "./pointer.js";
import "./objects.js";
import "./following.js";
import "./shortcuts.js";

// The token in the address was good for one use.
history.replaceState(null, "", "/");
let asking = null;

function update({ objects, history: steps }) {
  const same = JSON.stringify(objects) === JSON.stringify(state.objects);
  state.objects = objects;
  state.history = steps;
  if (!objects.some((entry) => entry.id === state.object)) state.object = objects.at(-1)?.id ?? null;
  if (!same) emit("objects");
  emit("history");
  hint();
}

function setStatus(status) {
  state.status = status;
  emit("status");
}

async function load() {
  const found = await ask("GET", "/api/state"), { session } = found;
  const other = session?.key !== state.session?.key;
  $("#opening").hidden = Boolean(session);
  $("#work").hidden = !session;
  for (const name of ["#export", "#undo", "#redo", "#saved"]) $(name).hidden = !session;
  $("#other").hidden = !session || found.fixed;
  if (!session) {
    state.session = null;
    $("#video-name").textContent = "";
    showOpening(found);
    return;
  }
  state.session = session;
  state.rows = new Map(session.timeline.map((row) => [row.frame, row]));
  document.title = `${session.name} - munet`;
  $("#video-name").textContent = session.name;
  $("#video-name").title = `${session.width} x ${session.height}, ${session.frames} frames`;
  update(session);
  setStatus(found.status);
  showExport(found.exports);
  if (other) {
    forget();
    Object.assign(work, { frame: -1, version: null, labels: null });
    stage.setUp();
    timeline.setUp();
    await stage.show(0);
  } else emit("rows", [work.frame]);
  timeline.redraw();
}

function reload() {
  asking ??= load().catch((error) => { if (!state.session) banner("opening", error.message, true); }).finally(() => { asking = null; });
  return asking;
}

function hint() {
  const text = !state.objects.length
    ? "Add an object, then paint it in this frame"
    : [...state.rows.values()].some((row) => row.version !== null) ? "" : "Paint the object, then press Follow";
  $("#hint").hidden = !text;
  $("#hint").textContent = text;
}

on("connected", reload);
on("server:opened", reload);
on("server:session", update);
on("server:status", setStatus);
on("server:frames", ({ rows, by }) => {
  if (!state.session) return;
  const others = by === PAGE ? [] : rows;
  for (const row of others) state.rows.set(row.frame, row);
  if (others.length) emit("rows", others.map((row) => row.frame));
});
on("rows", hint);
on("server:problem", ({ message }) => banner("problem", message, true));
on("server:pages", ({ count }) => {
  banner("pages", count > 1 ? `This session is open in ${count} pages. What is painted in one is shown in all; undo takes back the last step of any.` : "");
});
on("reachable", (there) => {
  banner("server", there ? "" : "The server does not answer. This page tries again; what you paint is kept here and sent when it is back.", true);
});
on("shut-out", () => banner("server", "The server does not know this page any more: open the address that it printed when it started.", true));
on("saving", () => { const count = waiting(); saved(count ? `saving ${count}` : "saved", count > 0); });
on("not-saved", (message) => banner("saving", `${message}. The page tries again.`, true));
on("is-saved", () => banner("saving", ""));
addEventListener("beforeunload", (event) => { if (waiting()) event.preventDefault(); });
addEventListener("error", ({ message }) => tell(message, true));
$("#other").addEventListener("click", () => ask("POST", "/api/close", {}).catch((error) => tell(error.message, true)));
chooseTool("brush");
listen();
