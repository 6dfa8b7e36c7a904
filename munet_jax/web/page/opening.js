// The page that opens a video, where the command line gave none.
import { ask, send } from "./server.js";
import { $, element } from "./state.js";
import { banner } from "./notices.js";

export function showOpening({ root, most_bytes: most }) {
  $("#opening").hidden = false;
  $("#browse").hidden = !root;
  $("#drop span").textContent = `Drop a video here, or choose a file (up to ${Math.round(most / 2 ** 20)} MiB)`;
  if (root) list("");
}

async function tried(action) {
  try {
    banner("opening", "");
    return await action();
  } catch (error) {
    banner("opening", error.message, true);
    return null;
  }
}

async function list(path) {
  const found = await tried(() => ask("GET", `/api/list?path=${encodeURIComponent(path)}`));
  if (!found) return;
  const below = (name) => (path ? `${path}/${name}` : name);
  const entry = (text, action) => element("li", {}, element("button", { textContent: text, onclick: action }));
  const up = path ? [entry("↑ one folder up", () => list(path.split("/").slice(0, -1).join("/")))] : [];
  const here = found.frames ? [entry(`▶ open these ${found.frames} frames`, () => open(path))] : [];
  $("#place").textContent = path || "From the folder of --root";
  $("#list").replaceChildren(
    ...up, ...here,
    ...found.folders.map((name) => entry(`${name}/`, () => list(below(name)))),
    ...found.videos.map((name) => entry(`▶ ${name}`, () => open(below(name)))),
  );
}

const open = (path) => tried(() => send("/api/open", { path }));

// fetch does not tell how far an upload is.
function upload(file) {
  const progress = $("#upload-progress"), request = new XMLHttpRequest();
  progress.hidden = false;
  banner("opening", "");
  request.upload.onprogress = ({ loaded, total }) => { progress.value = loaded / total; };
  request.onloadend = () => {
    progress.hidden = true;
    if (request.status === 200) return;
    let told = "the server does not answer; try again";
    try { told = JSON.parse(request.responseText).error; } catch { /* no answer */ }
    banner("opening", told, true);
  };
  request.open("PUT", `/api/uploads/${encodeURIComponent(file.name)}`);
  request.send(file);
}

$("#upload").addEventListener("change", ({ target }) => { if (target.files[0]) upload(target.files[0]); target.value = ""; });
for (const kind of ["dragenter", "dragover"]) $("#drop").addEventListener(kind, () => $("#drop").classList.add("over"));
for (const kind of ["dragleave", "drop"]) $("#drop").addEventListener(kind, () => $("#drop").classList.remove("over"));
