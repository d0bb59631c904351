// The table of records: rows are loaded as they are scrolled to, by the place of the last one, and taken away at the other end, so that a
// log of millions can be walked through. Rows come as the server draws them.

const rowsKept = 600;
const rowsAtOnce = 100;
const near = 900; // pixels before an end of what is loaded

export function records(panel) {
  const scroll = document.querySelector("[data-scroll]");
  const table = document.querySelector("[data-rows]");
  if (!scroll || !table) return null;
  const body = table.tBodies[0];
  const width = table.tHead.rows[0].cells.length;
  const spacer = document.createElement("tr"); // stands for rows that were taken away above
  spacer.className = "spacer";
  spacer.setAttribute("aria-hidden", "true");
  spacer.append(document.createElement("td"));
  spacer.firstChild.colSpan = width;
  let above = 0;
  let more = body.dataset.more === "true";
  let begun = body.dataset.begun === "true";
  let busy = false;
  const address = new URL(location.href);

  const rows = () => body.querySelectorAll("tr[data-cursor]");
  const first = () => body.querySelector("tr[data-cursor]");
  const last = () => { const all = rows(); return all[all.length - 1]; };

  function space(px) {
    above = Math.max(0, px);
    if (above > 0 && !spacer.isConnected) body.prepend(spacer);
    if (above === 0) spacer.remove();
    spacer.firstChild.style.height = `${above}px`;
  }

  async function load(way) {
    const edge = way === "after" ? last() : first();
    if (busy || !edge) return;
    busy = true;
    const url = new URL("/rows", location.href);
    for (const k of ["q", "order"]) if (address.searchParams.has(k)) url.searchParams.set(k, address.searchParams.get(k));
    url.searchParams.set(way, edge.dataset.cursor);
    url.searchParams.set("limit", rowsAtOnce);
    try {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(answer.status);
      const got = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("tbody");
      if (way === "after") {
        more = got.dataset.more === "true";
        append([...got.rows]);
      } else {
        begun = got.dataset.begun === "true";
        prepend([...got.rows]);
      }
    } catch {
      scroll.setAttribute("aria-busy", "false"); // the next scroll tries again
    }
    busy = false;
  }

  function append(list) {
    body.append(...list.map((r) => document.importNode(r, true)));
    const all = [...rows()];
    let n = Math.max(0, all.length - rowsKept);
    const held = all.indexOf(document.activeElement);
    if (held >= 0) n = Math.min(n, held);
    if (n === 0) return;
    const gone = all[n].offsetTop - all[0].offsetTop; // asked once, for the table is laid out anew each time
    for (const r of all.slice(0, n)) r.remove();
    begun = true;
    space(above + gone);
  }

  function prepend(list) {
    const edge = first();
    const made = list.map((r) => document.importNode(r, true));
    const before = edge.offsetTop;
    edge.before(...made);
    const added = edge.offsetTop - before;
    const top = scroll.scrollTop;
    const rest = begun ? Math.max(above - added, added) : 0;
    const shift = rest - (above - added);
    space(rest);
    if (shift !== 0) scroll.scrollTop = top + shift;
    const all = rows();
    for (let i = all.length - 1; i >= rowsKept && all[i] !== document.activeElement; i--) {
      all[i].remove();
      more = true;
    }
  }

  function look() {
    if (busy) return;
    if (more && scroll.scrollTop + scroll.clientHeight > scroll.scrollHeight - near) load("after").then(() => again());
    else if (begun && scroll.scrollTop < above + near && first()) load("before").then(() => again());
  }
  let tries = 0;
  function again() {
    if (tries++ < 4) requestAnimationFrame(look); // a screen higher than what was loaded
  }
  scroll.addEventListener("scroll", () => { tries = 0; requestAnimationFrame(look); }, { passive: true });
  if (begun) space(1);
  look();

  // Keys: one row has the focus.
  let at = null;
  function focus(row) {
    row ??= at?.isConnected ? at : first();
    if (!row) return;
    if (at) at.tabIndex = -1;
    at = row;
    row.tabIndex = 0;
    row.focus({ preventScroll: true });
    const head = table.tHead.offsetHeight;
    const top = row.offsetTop - head;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    else if (row.offsetTop + row.offsetHeight > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = row.offsetTop + row.offsetHeight - scroll.clientHeight;
    const box = scroll.getBoundingClientRect();
    if (box.bottom > innerHeight || box.top < 0) scroll.scrollIntoView({ block: "nearest" });
  }
  if (first()) first().tabIndex = 0;
  body.addEventListener("focusin", (e) => {
    const row = e.target.closest("tr[data-cursor]");
    if (row && row !== at) { if (at) at.tabIndex = -1; at = row; at.tabIndex = 0; }
  });

  const step = (row, way) => {
    let r = row?.[way];
    while (r && !r.dataset.cursor) r = r[way];
    return r;
  };

  function open(row) {
    const href = row?.dataset.href;
    if (!href) return;
    if (panel && href.startsWith("/flow/")) panel.open(href, row);
    else location.href = href;
  }

  function key(e) {
    const inside = at && at.isConnected;
    switch (e.key) {
      case "j": case "ArrowDown":
        if (e.key === "ArrowDown" && !body.contains(document.activeElement)) return false;
        focus(inside && body.contains(document.activeElement) ? step(at, "nextElementSibling") ?? at : at);
        look();
        if (panel?.shown) open(at);
        return true;
      case "k": case "ArrowUp":
        if (e.key === "ArrowUp" && !body.contains(document.activeElement)) return false;
        focus(inside ? step(at, "previousElementSibling") ?? at : null);
        look();
        return true;
      case "g": focus(first()); return true;
      case "G": focus(last()); return true;
      case "Enter":
        if (!body.contains(document.activeElement) || document.activeElement.tagName !== "TR") return false;
        open(at);
        return true;
    }
    return false;
  }
  body.addEventListener("click", (e) => {
    if (e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || String(getSelection())) return;
    const row = e.target.closest("tr[data-cursor]");
    if (!row) return;
    e.preventDefault();
    focus(row);
    open(row);
  });

  // Following: rows come by server-sent events, the newest on top.
  const button = document.querySelector("[data-follow]");
  const state = document.querySelector("[data-follow-state]");
  let source = null;
  let came = 0;
  function say(text) { state.textContent = text; }
  function stop(text = "") {
    source?.close();
    source = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Follow";
    say(text);
  }
  function start() {
    came = 0;
    const url = new URL(button.dataset.follow, location.href);
    const newest = address.searchParams.get("order") !== "oldest";
    const top = newest && !begun ? first() : null;
    url.searchParams.set("after", top ? top.dataset.cursor : button.dataset.end);
    if (!url.searchParams.get("after")) url.searchParams.delete("after");
    source = new EventSource(url);
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Following";
    say("Waiting for records.");
    document.querySelector(".empty")?.remove();
    source.addEventListener("row", (e) => {
      const got = new DOMParser().parseFromString(`<table><tbody>${e.data}</tbody></table>`, "text/html").querySelector("tr");
      if (!got) return;
      const row = document.importNode(got, true);
      row.classList.add("new");
      const pinned = scroll.scrollTop < 40;
      const edge = newest ? first() : null;
      if (edge) edge.before(row); else body.append(row);
      if (newest && !pinned) scroll.scrollTop += row.offsetHeight;
      if (!newest) scroll.scrollTop = scroll.scrollHeight;
      const all = rows();
      if (all.length > rowsKept) {
        const gone = newest ? all[all.length - 1] : all[0];
        if (gone !== document.activeElement) { gone.remove(); if (newest) more = true; else begun = true; }
      }
      came++;
      say(`${came} came`);
    });
    source.addEventListener("error", () => {
      if (source?.readyState === EventSource.CLOSED) stop("The server does not answer any more.");
      else say("Connecting again.");
    });
  }
  function toggleFollow() {
    if (source) stop(); else start();
  }
  button?.addEventListener("click", toggleFollow);
  addEventListener("pagehide", () => source?.close());

  return { key, focus, toggleFollow: button ? toggleFollow : null };
}
