// Following: start, stop, how far it is.
import { send } from "./server.js";
import { show } from "./stage.js";
import { drained, work } from "./painting.js";
import { $, on, state } from "./state.js";
import { banner, tell } from "./notices.js";

const chosen = (name) => $(`input[name="${name}"]:checked`).value;
let here = null;

export async function toggle() {
  if (state.status.state === "following") { await stop(); return; }
  await drained();
  state.watch = $("#watch").checked;
  state.playing = false;
  try {
    await send("/api/follow", { direction: chosen("direction"), origin: chosen("origin"), frame: state.frame });
  } catch (error) {
    tell(error.message, true);
  }
}

async function stop() {
  $("#stop").disabled = true;
  try { await send("/api/stop"); } catch (error) { tell(error.message, true); }
}

const spoken = (seconds) => (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`);

function words({ state: name, done, total, rate, left, seconds, stopped, problem, direction }) {
  if (name === "loading") return "Loading the network …";
  if (name === "warming") return "Preparing the network for this size …";
  if (name === "following" && !done) return "Starting …";
  if (name === "following") return `${direction}: ${done} of ${total} frames, ${rate.toFixed(1)} a second, ${spoken(left)} left`;
  if (problem) return problem;
  if (total === undefined) return "Ready.";
  return `${stopped ? "Stopped" : "Done"}: ${done} frames in ${spoken(seconds)}.`;
}

function redraw() {
  const { status } = state, runs = status.state === "following";
  $("#follow").hidden = runs;
  $("#stop").hidden = !runs;
  $("#stop").disabled = false;
  $("#follow").disabled = status.state === "failed";
  $("#progress").hidden = !runs;
  if (runs) { $("#progress").max = status.total || 1; $("#progress").value = status.done; }
  $("#status").textContent = words(status);
  $("#status").classList.toggle("bad", Boolean(status.problem));
  if (status.problem) banner("problem", status.problem, true);
  else if (runs) banner("problem", "");
}

on("status", redraw);
// What is followed is shown as it comes, until the user looks elsewhere.
on("rows", (frames) => {
  if (state.status.state === "following" && state.watch && !work.busy && frames.length === 1) show(frames[0]);
});
on("look pause", () => { state.watch = false; });
$("#watch").addEventListener("change", () => { state.watch = $("#watch").checked; });
$("#follow").addEventListener("click", toggle);
$("#stop").addEventListener("click", stop);
// The network looks at a frame ahead of time, so that following begins at once.
on("shown", () => {
  clearTimeout(here);
  if (state.status.state === "idle" && !state.playing) here = setTimeout(() => send(`/api/here/${state.frame}`).catch(() => {}), 400);
});
