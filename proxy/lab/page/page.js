// Reading needs none of this: Escape closes a panel, and the arrow keys with Alt held lead to its neighbours.
addEventListener("keydown", (e) => {
  const panel = document.querySelector(".panel:target");
  if (!panel) return;
  const to = e.key === "Escape" ? ".close" : e.altKey && { ArrowUp: "[rel=up]", ArrowDown: "[rel=down]", ArrowLeft: "[rel=prev]", ArrowRight: "[rel=next]" }[e.key];
  const link = to && panel.querySelector(".moves " + to);
  if (!link) return;
  e.preventDefault();
  link.click();
});
addEventListener("hashchange", () => {
  const to = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (to && (to.matches(".panel") || to.matches("td a"))) to.focus({ preventScroll: to.matches(".panel") });
});
