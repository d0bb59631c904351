// What script adds to pages that work without it: keys, the drawer, copying, scrolling without end, following, the time strip.
import { drawer } from "./drawer.js";
import { records } from "./records.js";
import { strips } from "./strip.js";
import { copying } from "./copy.js";

document.documentElement.classList.add("scripted");
for (const e of document.querySelectorAll(".script-only")) e.hidden = false;

if (innerWidth < 720) for (const e of document.querySelectorAll(".bar-more")) e.open = false;

const keys = document.getElementById("keys");
document.querySelector("[data-keys]")?.addEventListener("click", () => keys.showModal());

copying(document);
strips(document);
const panel = drawer();
const table = records(panel);

// typing says whether a key belongs to a field.
const typing = (e) => e.target.closest?.("input, select, textarea") !== null && e.target.closest?.("input, select, textarea") !== undefined;

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
  if (e.key === "Escape") {
    if (keys?.open) return;
    if (typing(e)) { e.target.blur(); table?.focus(); return; }
    panel?.close();
    return;
  }
  if (typing(e) || keys?.open) return;
  const q = document.getElementById("q");
  switch (e.key) {
    case "/":
      if (!q) return;
      panel?.close();
      q.focus();
      q.select();
      break;
    case "?":
      keys.showModal();
      break;
    case "f":
      if (!table?.toggleFollow) return;
      table.toggleFollow();
      break;
    default:
      if (!table?.key(e)) return;
  }
  e.preventDefault();
});
