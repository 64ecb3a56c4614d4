/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* look.mjs BROWSER FOLDER PAGE...: opens FOLDER/PAGE.html as people do (light, dark, on a phone, on paper, without script). */
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";

const [browserPath, folder, ...pages] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const views = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
  "no-script": { colorScheme: "dark", viewport: { width: 1280, height: 900 }, javaScriptEnabled: false },
};
let tests = 0, failed = 0;

function check(name, good, detail = "") {
  tests++;
  failed += good ? 0 : 1;
  console.log(`${good ? "ok" : "not ok"} ${tests} - ${name}`);
  if (!good) console.log(`# ${String(detail).replaceAll("\n", "\n# ")}`);
}

async function open(browser, file, view) {
  const context = await browser.newContext({ ...views[view], bypassCSP: true });
  const page = await context.newPage(), said = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && said.push(m.text()));
  page.on("pageerror", (e) => said.push(String(e)));
  page.on("dialog", (d) => { said.push(`dialog: ${d.message()}`); d.dismiss(); });
  page.on("request", (r) => /^(file|data):/.test(r.url()) || said.push(`asks for ${r.url()}`));
  await page.goto(`file://${file}`);
  return { context, page, said };
}

async function accessible(page, name) {
  await page.addScriptTag({ content: axe });
  const found = await page.evaluate(() => globalThis.axe.run());
  const told = found.violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => n.html.slice(0, 160)).join("\n  ")}`);
  check(`${name}: axe finds nothing`, told.length === 0, told.join("\n"));
}

/* What can be seen: charts redrawn by script on a screen, the SVG itself on paper and without script. */
const seen = (page) => page.evaluate(() => {
  const visible = (e) => e && e.getBoundingClientRect().height > 20;
  const figures = [...document.querySelectorAll("figure.time")];
  return { figures: figures.length, plots: figures.filter((f) => visible(f.querySelector("canvas"))).length,
    pictures: figures.filter((f) => visible(f.querySelector("svg[role=img]"))).length };
});

async function plots(page, name) {
  const n = await seen(page);
  check(`${name}: every time chart can be zoomed`, n.figures >= 4 && n.plots === n.figures && n.pictures === 0, JSON.stringify(n));
  const chart = page.locator("figure.time").first();
  await chart.scrollIntoViewIfNeeded();
  const box = await chart.locator(".u-over").boundingBox();
  const at = () => chart.locator(".readout").textContent();
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2);
  const before = await at();
  check(`${name}: pointing at a chart tells its figures`, /predictive \d/.test(before), before);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, box.y + box.height / 2, { steps: 4 });
  await page.mouse.up();
  await page.mouse.move(box.x + box.width * 0.05, box.y + box.height / 2);
  const day = (t) => parseFloat(t.split(" ")[1]);
  const zoomed = await at();
  await page.mouse.dblclick(box.x + box.width * 0.05, box.y + box.height / 2);
  await page.mouse.move(box.x + box.width * 0.06, box.y + box.height / 2);
  const whole = await at();
  check(`${name}: dragging zooms, a double click shows all again`, day(zoomed) > day(whole), `${before} | ${zoomed} | ${whole}`);
}

async function look(browser, name, view) {
  const { context, page, said } = await open(browser, `${folder}/${name}.html`, view);
  const title = `${name}, ${view}`, script = view !== "no-script";
  if (script && view !== "phone") await plots(page, title);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${folder}/${name}-${view}.png`, fullPage: true });
  if (script) {
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(`${title}: nothing sticks out of the page`, wider <= 0, `${wider} px`);
    await accessible(page, title);
    await page.emulateMedia({ media: "print" });
    const n = await seen(page);
    check(`${title}: paper shows the pictures`, n.plots === 0 && n.pictures === n.figures, JSON.stringify(n));
  } else {
    const pictures = page.locator("figure.time svg[role=img]"), n = await pictures.count();
    let shown = 0;
    for (let i = 0; i < n; i++) shown += (await pictures.nth(i).isVisible()) ? 1 : 0;
    check(`${title}: the pictures are there`, n >= 4 && shown === n, `${shown} of ${n}`);
  }
  check(`${title}: the console is silent and nothing is fetched`, said.length === 0, said.join("\n"));
  await context.close();
}

async function text(browser, name) {
  const { context, page } = await open(browser, `${folder}/${name}.html`, "light");
  const first = await page.locator("main p").first().textContent();
  check(`${name}: the first sentence is the verdict`, /^predictive costs [\d.]+ host-hours, .*(none|static-p95|reactive-tuned) \(/.test(first), first);
  const bad = await page.evaluate(() => [...document.querySelectorAll("svg[role=img]")].filter((s) =>
    !s.querySelector("title")?.textContent || !s.querySelector("desc")?.textContent).length);
  check(`${name}: every picture has words`, bad === 0, `${bad} have none`);
  const size = gzipSync(readFileSync(`${folder}/${name}.html`), { level: 9 }).length;
  check(`${name}: under 150 kB compressed`, size < 150_000, `${size} bytes`);
  await context.close();
}

const browser = await chromium.launch({ executablePath: browserPath, args: flags });
for (const name of pages) {
  for (const view of Object.keys(views)) await look(browser, name, view);
  await text(browser, name);
}
await browser.close();
console.log(`1..${tests}`);
process.exit(failed ? 1 : 0);
