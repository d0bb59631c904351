// Drives the page of `halfopen review serve` as people do. It is run by TestReviewPage in cmd/halfopen, which makes the logs:
//   node page.mjs URL-OF-THE-INCIDENT'S-LOG URL-OF-A-LONG-LOG URL-OF-AN-EXPERIMENT'S-LOG [DIRECTORY-FOR-SCREENSHOTS]
// On "follow" on its standard output the test writes records with the client 10.9.9.9 to the first log. It ends with status 1 at the first
// thing that is not as it must be.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [, , base, long, trial, shots] = process.argv;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// open makes a window in which nothing may go wrong unseen: no error, nothing that the page's own policy forbids, no foreign request.
async function open(width, scheme, more = {}) {
  const context = await browser.newContext({ viewport: { width, height: width > 600 ? 860 : 844 }, colorScheme: scheme, reducedMotion: "reduce", ...more });
  context.setDefaultTimeout(30000);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) wrong.push(`console: ${m.text()}`); });
  page.on("pageerror", (e) => wrong.push(`error: ${e.message}`));
  page.on("request", (r) => { if (![base, long, trial].some((b) => r.url().startsWith(b))) wrong.push(`a request elsewhere: ${r.url()}`); });
  await context.exposeBinding("halfopenViolation", (_, what) => wrong.push(`policy: ${what}`));
  await context.addInitScript(() => addEventListener("securitypolicyviolation", (e) => window.halfopenViolation(`${e.violatedDirective} ${e.blockedURI}`)));
  return { page, wrong, close: () => context.close() };
}

const step = (text) => console.log(`# ${text}`);
const q = (page) => new URL(page.url()).searchParams.get("q");
const ladderText = (page) => page.locator("svg.hol").textContent();
async function until(page, what, ...args) { await page.waitForFunction(what, ...args); }

const w = await open(1280, "light");
const page = w.page;

step("the incident is found from the start page by clicks alone");
await page.goto(base);
const group = page.locator("article.group", { hasText: "answered by an old connection" });
await group.waitFor();
assert.match(await page.locator(".summary").textContent(), /balanced/);
await group.locator(".examples a").first().click();
await page.locator("#drawer svg.hol").waitFor();
assert.match(page.url(), /\/flow\/\d+$/);
const drawn = await ladderText(page);
assert.match(drawn, /ack-for-syn/);
const flow = page.url();

step("its address shows the same");
await page.reload();
await page.locator("main svg.hol").waitFor();
assert.equal(page.url(), flow);
assert.equal(await ladderText(page), drawn);
assert.equal(await page.locator(".step").count() > 3, true);
await page.locator("details.raw").first().click();
assert.match(await page.locator("details.raw[open] pre").first().textContent(), /"flow_id": \d+/);
await page.locator("text=Copy as scenario").click();
await page.locator("[data-copied]", { hasText: "The scenario is in the clipboard" }).waitFor();
const scenario = await (await page.request.get(`${flow}/scenario.scn`)).text();
assert.match(scenario, /ack-for-syn/);
await page.goBack();
await until(page, () => location.pathname === "/");

step("the form is the address");
await page.locator(".variants").first().waitFor();
await group.locator("a", { hasText: "drop/syn-established" }).first().click();
await page.locator("tr[data-cursor]").first().waitFor();
assert.equal(q(page), "reason:syn-established");
const rows = await page.locator("tr[data-cursor]").count();
assert.equal(rows > 0, true);
await page.locator("select[name=verdict]").selectOption("drop");
await page.locator(".bar button.primary").click();
await until(page, () => new URL(location).searchParams.get("q") === "verdict:drop reason:syn-established");
const shown = await page.locator("tr[data-cursor]").allTextContents();
await page.reload();
assert.deepEqual(await page.locator("tr[data-cursor]").allTextContents(), shown);
await page.locator("a.chip", { hasText: "verdict:drop" }).click();
await until(page, () => new URL(location).searchParams.get("q") === "reason:syn-established");
assert.equal(await page.locator("tr[data-cursor]").count(), rows);

step("keys");
const focus = () => page.evaluate(() => document.activeElement.dataset?.cursor ?? document.activeElement.id);
await page.goto(`${base}/log`);
await page.keyboard.press("/");
assert.equal(await focus(), "q");
await page.keyboard.type("j?f");
assert.equal(await page.locator("#q").inputValue(), "j?f");
await page.locator("#q").fill("");
await page.keyboard.press("Escape");
const first = await focus();
assert.match(first, /@/);
await page.keyboard.press("j");
await page.keyboard.press("ArrowDown");
await page.keyboard.press("k");
const second = await focus();
assert.notEqual(second, first);
await page.keyboard.press("j");
while (!(await page.evaluate(() => document.activeElement.dataset.href)).startsWith("/flow/")) await page.keyboard.press("j");
const row = await focus();
await page.keyboard.press("Enter");
await page.locator("#drawer svg.hol").waitFor();
assert.match(page.url(), /\/flow\/\d+$/);
await page.keyboard.press("Escape");
await until(page, () => document.getElementById("drawer").hidden);
assert.equal(new URL(page.url()).pathname, "/log");
assert.equal(await focus(), row);
await page.keyboard.press("?");
assert.equal(await page.locator("dialog#keys").isVisible(), true);
await page.keyboard.press("Escape");
await until(page, () => !document.getElementById("keys").open);

step("the time strip zooms: by keys and by the pointer");
await page.goto(`${long}/log`);
const strip = page.locator(".strip-svg");
await strip.focus();
for (const key of ["ArrowRight", "ArrowRight", "Shift+ArrowRight", "Enter"]) await page.keyboard.press(key);
await until(page, () => /^since:\S+ until:\S+$/.test(new URL(location).searchParams.get("q")));
await page.goto(`${long}/log?q=verdict:drop`);
const box = await strip.boundingBox();
await page.mouse.move(box.x + box.width * 0.3, box.y + 30);
await page.mouse.down();
await page.mouse.move(box.x + box.width * 0.6, box.y + 30, { steps: 5 });
await page.mouse.up();
await until(page, () => /^since:\S+ until:\S+ verdict:drop$/.test(new URL(location).searchParams.get("q")));

step("the table scrolls through a log and back, and holds a few of its rows");
await page.goto(`${long}/log?order=oldest`);
const seen = new Map();
const look = async () => {
  const now = await page.locator("tr[data-cursor]").evaluateAll((all) => all.map((r) => r.dataset.cursor));
  assert.equal(now.length <= 900, true, `${now.length} rows are kept`);
  for (let i = 1; i < now.length; i++) {
    const before = seen.get(now[i]);
    assert.equal(before === undefined || before === now[i - 1], true, "rows are not in one order");
    seen.set(now[i], now[i - 1]);
  }
  return now;
};
const begin = (await look())[0];
for (let i = 0; i < 9; i++) {
  const last = (await look()).at(-1);
  await page.locator("[data-scroll]").evaluate((s) => { s.scrollTop = s.scrollHeight; });
  await until(page, (l) => [...document.querySelectorAll("tr[data-cursor]")].at(-1).dataset.cursor !== l, last);
}
assert.equal(seen.size > 800, true, `${seen.size} rows were seen`);
for (let i = 0; i < 60 && (await look())[0] !== begin; i++) {
  await page.locator("[data-scroll]").evaluate((s) => { s.scrollTop = 0; });
  await page.waitForTimeout(60);
}
assert.equal((await look())[0], begin);

step("records come as they are written, through the filter");
await page.goto(`${base}/log?q=src:10.9.9.9`);
await page.locator("[data-follow]").click();
await page.locator("[data-follow-state]", { hasText: "Waiting" }).waitFor();
console.log("follow");
await page.locator("tr[data-cursor]", { hasText: "10.9.9.9:42" }).nth(9).waitFor();
const came = await page.locator("tr[data-cursor] .c-ends .end:first-child").allTextContents();
assert.deepEqual(came, [...came].sort().reverse(), "the newest is not on top");
await page.keyboard.press("f");
assert.equal(await page.locator("[data-follow]").getAttribute("aria-pressed"), "false");

step("what passed by the fast path is proven, too");
const proof = page.locator("table.fast tbody tr").first().locator("td");
for (let i = 0; i < 30 && (await proof.count() === 0 || await proof.last().textContent() !== "balanced"); i++) {
  await page.waitForTimeout(200);
  await page.goto(base);
}
assert.deepEqual((await proof.allTextContents()).map((t) => t.replaceAll("\u202f", "")), ["30018000 bytes", "30018000", "00", "00", "30018000", "balanced"]);

step("policies");
await page.goto(`${base}/policies`);
await page.locator("table.revs a", { hasText: "show" }).first().click();
await page.locator("pre", { hasText: "timeouts:" }).waitFor();

step("an experiment: from the verdict to a connection behind a number");
await page.goto(trial);
await page.locator("nav a", { hasText: "Experiments" }).click();
await page.locator("main li a", { hasText: "breaks connections" }).click();
assert.equal(new URL(page.url()).pathname, "/experiments/idle-5m");
assert.match(await page.locator("main .lead").first().textContent(), /Short breaks connections: .*connect failures rise by/);
assert.equal(await page.locator("svg.tr .tr-worse").count() > 0, true);
await page.locator("tr", { hasText: "connect-failure" }).first().locator("td a").nth(1).click();
await page.locator("main table a", { hasText: "flow " }).first().click();
await page.locator("main svg.hol").waitFor();
await page.goto(`${trial}/experiments/idle-5m`);
await page.locator("tr", { hasText: "port 515" }).first().locator("td a").nth(1).click();
await page.locator("tr[data-cursor]").first().waitFor();
assert.match(q(page), /event:flow arm:short port:515/);
assert.deepEqual(w.wrong, []);
await w.close();

step("without script");
const plain = await open(1280, "light", { javaScriptEnabled: false });
await plain.page.goto(base);
await plain.page.locator("article.group .examples a").first().click();
await plain.page.locator("main svg.hol").waitFor();
await plain.page.goto(`${long}/log`);
await plain.page.locator("select[name=verdict]").selectOption("drop");
await plain.page.locator(".bar button.primary").click();
assert.equal(q(plain.page), "verdict:drop");
const page1 = await plain.page.locator("tr[data-cursor]").first().getAttribute("data-cursor");
await plain.page.locator("a[rel=next]").click();
assert.notEqual(await plain.page.locator("tr[data-cursor]").first().getAttribute("data-cursor"), page1);
await plain.page.locator("a[rel=prev]").click();
assert.equal(await plain.page.locator("tr[data-cursor]").first().getAttribute("data-cursor"), page1);
await plain.close();

step("everybody can read it: axe, wide and narrow, light and dark");
const places = { start: base, log: `${long}/log?q=verdict:drop`, flow, policies: `${base}/policies`, error: `${base}/log?q=foo`, trouble: `${long}/trouble/old-connection`,
  experiments: `${trial}/experiments`, experiment: `${trial}/experiments/idle-5m`, behind: `${trial}/experiments/idle-5m/behind?arm=short&metric=connect-failure` };
for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"]]) {
  const a = await open(width, scheme);
  for (const [name, url] of Object.entries(places)) {
    await a.page.goto(url);
    await a.page.waitForTimeout(100);
    const over = await a.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.equal(over <= 0, true, `${name} at ${width}: ${over} pixels too wide`);
    if (shots) await a.page.screenshot({ path: `${shots}/${name}-${width}-${scheme}.png`, fullPage: name !== "log" });
    if (width === 390 && scheme === "light") continue; // the same marks as in the dark, and the same colours as on the wide page
    const found = await a.page.evaluate(`${axe}; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] })`);
    const bad = found.violations.filter((v) => ["serious", "critical"].includes(v.impact));
    assert.deepEqual(bad.map((v) => `${name} ${width} ${scheme}: ${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(" | ")}`), []);
  }
  if (name(a) !== "") throw new Error(name(a));
  await a.close();
}
function name(a) { return a.wrong.filter((x) => !x.includes("400 (Bad Request)")).join("\n"); }

await browser.close();
console.log("good");
