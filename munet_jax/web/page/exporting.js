// The export dialog.
import { send } from "./server.js";
import { drained } from "./painting.js";
import { $, element, on, state } from "./state.js";
import { tell } from "./notices.js";

const dialog = $("#export-dialog");

$("#export").addEventListener("click", () => {
  $("#out").textContent = `${state.session.out}/masks`;
  dialog.showModal();
});

$("#make").addEventListener("click", async () => {
  const kinds = [...document.querySelectorAll("#kinds input:checked")].map((input) => input.value);
  if (!kinds.length) { $("#export-status").textContent = "Choose what to make."; return; }
  await drained();
  try { await send("/api/exports", { kinds }); } catch (error) { $("#export-status").textContent = error.message; }
});

export function showExport({ state: name, done, total, files, problem, folder }) {
  $("#export-progress").hidden = name !== "making";
  $("#make").disabled = name === "making";
  if (name === "making") { $("#export-progress").max = total; $("#export-progress").value = done; }
  $("#export-status").textContent = { none: "", making: "Making …", failed: problem, made: `Made, in ${folder}:` }[name];
  const link = (file) => element("li", {}, element("a", { href: `/api/exports/${file}`, download: file, textContent: file }));
  $("#files").replaceChildren(...(name === "made" ? files.map(link) : []));
  if (name === "failed" && !dialog.open) tell(problem, true);
  if (name === "made" && !dialog.open) tell("The export is made; Export shows the files");
}
on("server:export", showExport);
