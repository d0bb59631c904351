// The time strip: a range is selected by dragging or by keys and becomes since and until of the filter.

export function strips(root) {
  for (const box of root.querySelectorAll("[data-strip]")) {
    if (box.dataset.fetch) fetchStrip(box);
    else strip(box);
  }
}

async function fetchStrip(box) {
  const answer = await fetch(box.dataset.fetch).catch(() => null);
  if (!answer?.ok) return;
  const got = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-strip]");
  if (!got) return;
  const made = document.importNode(got, true);
  for (const e of made.querySelectorAll(".script-only")) e.hidden = false;
  box.replaceWith(made);
  strip(made);
}

function strip(box) {
  const axis = box.querySelector(".strip-axis");
  if (axis) {
    axis.classList.add("laid");
    for (const t of axis.children) t.style.left = `${Number(t.dataset.x) / 10}%`;
  }
  const svg = box.querySelector("svg");
  if (!svg) return;
  const bars = [...svg.querySelectorAll(".strip-bar")];
  const sel = svg.querySelector(".strip-sel");
  const from = Date.parse(svg.dataset.from);
  const to = Date.parse(svg.dataset.to);
  const say = document.createElement("p");
  say.className = "sr";
  say.setAttribute("role", "status");
  box.append(say);

  const x = (e) => {
    const r = svg.getBoundingClientRect();
    return Math.min(1000, Math.max(0, ((e.clientX - r.left) / r.width) * 1000));
  };
  const time = (v) => new Date(Math.round((from + ((to - from) * v) / 1000) / 1000) * 1000).toISOString().replace(".000Z", "Z");
  const paint = (a, b) => {
    sel.setAttribute("x", Math.min(a, b));
    sel.setAttribute("width", Math.abs(b - a));
  };
  function go(since, until) {
    if (since === until) return;
    const url = new URL("/log", location.href); // as the filter's form would ask: the server puts the words together
    url.searchParams.set("q", box.dataset.query);
    url.searchParams.set("since", since);
    url.searchParams.set("until", until);
    if (box.dataset.order === "oldest") url.searchParams.set("order", "oldest");
    location.href = url;
  }

  // With a pointer.
  let start = null;
  let moved = false;
  svg.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    start = x(e);
    moved = false;
  });
  svg.addEventListener("pointermove", (e) => {
    if (start === null) return;
    if (!moved && Math.abs(x(e) - start) > 6) { moved = true; svg.setPointerCapture(e.pointerId); }
    if (moved) paint(start, x(e));
  });
  const end = (e) => {
    if (start === null) return;
    const a = Math.min(start, x(e));
    const b = Math.max(start, x(e));
    start = null;
    if (moved) go(time(a), time(b));
  };
  svg.addEventListener("pointerup", end);
  svg.addEventListener("pointercancel", () => { start = null; paint(0, 0); });
  svg.addEventListener("click", (e) => { if (moved) { e.preventDefault(); e.stopPropagation(); } moved = false; }, true);
  svg.addEventListener("dragstart", (e) => e.preventDefault());

  // With keys.
  if (bars.length === 0) return;
  let at = -1;
  let anchor = -1;
  svg.tabIndex = 0;
  svg.addEventListener("keydown", (e) => {
    const way = { ArrowLeft: -1, ArrowRight: 1, Home: -bars.length, End: bars.length }[e.key];
    if (way !== undefined) {
      const next = Math.min(bars.length - 1, Math.max(0, at < 0 ? (way > 0 ? 0 : bars.length - 1) : at + way));
      if (!e.shiftKey) anchor = next;
      else if (anchor < 0) anchor = at < 0 ? next : at;
      at = next;
      bars.forEach((b, i) => b.classList.toggle("at", i === at));
      const [a, b] = [bars[Math.min(at, anchor)], bars[Math.max(at, anchor)]];
      paint(Number(a.dataset.x), Number(b.dataset.x) + Number(b.dataset.w));
      say.textContent = at === anchor ? bars[at].getAttribute("aria-label") : `${a.dataset.from} to ${b.dataset.to}`;
    } else if (e.key === "Enter" && at >= 0) {
      go(bars[Math.min(at, anchor)].dataset.from, bars[Math.max(at, anchor)].dataset.to);
    } else if (e.key === "Escape" && at >= 0) {
      at = anchor = -1;
      bars.forEach((b) => b.classList.remove("at"));
      paint(0, 0);
    } else return;
    e.preventDefault();
    e.stopPropagation();
  });
}
