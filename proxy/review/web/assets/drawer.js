// The drawer shows a flow beside the list that led to it. Its address is the flow's own, so that it can be passed on and reloaded.
import { copying } from "./copy.js";

export function drawer() {
  const box = document.getElementById("drawer");
  const home = { url: location.href, title: document.title };
  const bare = (url) => url.split("#")[0];
  addEventListener("popstate", (e) => {
    if (box && e.state?.drawer) show(e.state.drawer);
    else if (bare(location.href) !== bare(home.url)) location.reload(); // a flow's page that began as a drawer, and was reloaded
    else if (box) hide();
  });
  if (!box) return null;
  let back = null; // what had the focus
  let asked = 0;

  async function show(href) {
    const mine = ++asked;
    const url = new URL(href, location.href);
    url.searchParams.set("part", "drawer");
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    if (mine !== asked) return;
    if (!answer.ok) { location.href = href; return; }
    const doc = new DOMParser().parseFromString(await answer.text(), "text/html");
    const inside = doc.querySelector(".drawer-in");
    if (mine !== asked) return;
    if (!inside) { location.href = href; return; }
    for (const e of inside.querySelectorAll(".script-only")) e.hidden = false;
    box.replaceChildren(document.importNode(inside, true));
    copying(box);
    box.hidden = false;
    box.scrollTop = 0;
    document.title = inside.dataset.title;
    box.setAttribute("aria-label", box.querySelector(".drawer-title").textContent);
    box.querySelector(".drawer-title").focus({ preventScroll: true });
  }

  function open(href, from) {
    if (box.hidden) back = from ?? document.activeElement;
    history.pushState({ drawer: href }, "", href);
    return show(href);
  }

  function hide() {
    if (box.hidden) return;
    asked++;
    box.hidden = true;
    box.replaceChildren();
    document.title = home.title;
    back?.focus?.({ preventScroll: true });
  }

  function close() {
    if (box.hidden) return false;
    hide();
    history.pushState({}, "", home.url);
    return true;
  }

  document.addEventListener("click", (e) => {
    if (e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
    if (e.target.closest("[data-close]")) { close(); return; }
    const a = e.target.closest("a[data-drawer]");
    if (!a || !a.pathname.startsWith("/flow/")) return;
    e.preventDefault();
    open(a.href, a);
  });

  return { open, close, get shown() { return !box.hidden; }, home };
}
