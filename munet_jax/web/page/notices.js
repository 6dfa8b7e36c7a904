// Words to the user: short ones that go away, and a banner for what lasts.
import { $, element } from "./state.js";

export function tell(text, bad = false) {
  const toast = element("div", { className: bad ? "bad" : "", textContent: text });
  $("#toasts").replaceChildren(toast);
  setTimeout(() => toast.remove(), bad ? 7000 : 2500);
}

const banners = new Map(); // by what they are about; the last one is shown

export function banner(about, text, bad = false) {
  banners.delete(about);
  if (text) banners.set(about, { text, bad });
  const shown = [...banners.values()].at(-1);
  $("#banner").hidden = !shown;
  if (!shown) return;
  $("#banner-text").textContent = shown.text;
  $("#banner").classList.toggle("bad", shown.bad);
}

$("#banner-close").addEventListener("click", () => {
  const about = [...banners.keys()].at(-1);
  banner(about, "");
});
