/**
 * Starts a page: the shell's own controls, the live connection, and the modules that elements ask for.
 *
 * An element with `data-module="name"` is given to the default export of `modules/name.js` as
 * `mount(element, app)`; what that returns, if a function, is called when the element goes away.
 * An element with `data-reload-on="type type"` gets a `jt:reload` event (what `hx-trigger` listens to)
 * after such an event of the stream, and after a resync.
 */

import * as api from "./api.js";
import { ask, askFor, startConfirm } from "./confirm.js";
import { startConnection } from "./connection.js";
import { announce } from "./dom.js";
import { openFind, startFind } from "./find.js";
import * as format from "./format.js";
import { connectPage } from "./live.js";
import { startNews } from "./news.js";
import { startToasts, toast } from "./toast.js";
import { startValues, write, writeTopic } from "./values.js";

const RELOAD_AFTER_MS = 200;
const COPIED_MS = 2000;
const GO_WITHIN_MS = 1200;
const TYPED_INTO = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable], dialog";

const live = connectPage();
export const app = { api, announce, ask, format, live, toast, write, writeTopic };

// ---------------------------------------------------------------------- modules

const mounted = new Map();

async function mount(element) {
  if (mounted.has(element)) return;
  const name = element.dataset.module;
  if (!/^[a-z][a-z0-9-]*$/.test(name)) return;
  mounted.set(element, null);
  try {
    const module = await import(new URL(`./modules/${name}.js`, import.meta.url));
    mounted.set(element, module.default(element, app) ?? null);
  } catch (error) {
    console.error(`module ${name} did not start`, error);
  }
}

function mountAll() {
  for (const [element, stop] of mounted) {
    if (element.isConnected) continue;
    mounted.delete(element);
    if (typeof stop === "function") stop();
  }
  for (const element of document.querySelectorAll("[data-module]")) mount(element);
}

// ---------------------------------------------------------------------- what scrolls

/** What is wider or higher than its panel can be scrolled with the arrow keys: it takes the focus. */
function markScrollers() {
  for (const box of document.querySelectorAll(".jt-scroll")) {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (scrolls && !box.hasAttribute("tabindex")) box.tabIndex = 0;
  }
}

// ---------------------------------------------------------------------- parts that reload

const waiting = new Set();
let reloadTimer = null;

function reload(element) {
  waiting.add(element);
  reloadTimer ??= setTimeout(() => {
    reloadTimer = null;
    for (const part of waiting) if (part.isConnected) part.dispatchEvent(new CustomEvent("jt:reload"));
    waiting.clear();
  }, RELOAD_AFTER_MS);
}

function startReloads() {
  live.on("*", (data, { type }) => {
    for (const part of document.querySelectorAll("[data-reload-on]")) {
      if (type === "resync" || part.dataset.reloadOn.split(/\s+/).includes(type)) reload(part);
    }
  });
}

/** A page restored from the browser's cache shows an old state; its parts are fetched again. */
function startRestore() {
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) for (const part of document.querySelectorAll("[data-reload-on]")) reload(part);
  });
}

// ---------------------------------------------------------------------- htmx

function startHtmx() {
  document.addEventListener("htmx:config:request", (event) => {
    const { request } = event.detail.ctx;
    if (!["GET", "HEAD"].includes(request.method)) request.headers["X-CSRFToken"] = api.csrfToken();
  });
  document.addEventListener("htmx:response:error", (event) => {
    const { status, headers } = event.detail.ctx.response;
    if (status === 422) return;
    if (status === 401) {
      location.reload();
      return;
    }
    const request = headers.get("X-Request-ID");
    toast({ kind: "bad", title: `That did not work (${status})`, text: request ? `Request ${request}.` : "" });
  });
  document.addEventListener("htmx:error", () => {
    // While the connection is down the banner says so already.
    if (!live || live.state.name === "connected") toast({ kind: "bad", title: "No answer from the server" });
  });
  for (const type of ["htmx:after:settle", "htmx:after:swap"]) {
    document.addEventListener(type, mountAll);
    document.addEventListener(type, markScrollers);
  }
}

// ---------------------------------------------------------------------- shell

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // The choice then holds for this page only.
  }
}

function flipTheme() {
  const root = document.documentElement;
  root.dataset.bsTheme = root.dataset.bsTheme === "light" ? "dark" : "light";
  remember("jt-theme", root.dataset.bsTheme);
  document.dispatchEvent(new CustomEvent("jt:theme"));
}

function flipRail() {
  const rail = document.querySelector(".jt-rail");
  if (!rail) return;
  const choice = rail.offsetWidth < 100 ? "open" : "collapsed";
  document.documentElement.dataset.jtRail = choice;
  remember("jt-rail", choice);
}

async function copyText(button) {
  const { copy, copyFrom } = button.dataset;
  const text = copyFrom ? (document.getElementById(copyFrom)?.textContent ?? "") : copy || (button.previousElementSibling?.textContent ?? "");
  const label = button.querySelector("span") ?? button;
  const before = label.textContent;
  if (button.dataset.copied !== undefined) return;
  button.dataset.copied = "";
  label.textContent = (await putOnClipboard(text)) ? "Copied" : "Press Ctrl C";
  announce(label.textContent);
  setTimeout(() => {
    label.textContent = before;
    delete button.dataset.copied;
  }, COPIED_MS);
}

/** The clipboard API needs HTTPS or loopback; elsewhere the text is selected and copied the old way. */
async function putOnClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "jt-sr";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A switch that acts at once moves only when the server agreed; until then it is busy. */
async function onSwitch(event) {
  const box = event.target.closest("input[data-switch]");
  if (!box) return;
  event.preventDefault();
  if (box.getAttribute("aria-busy") === "true") return;
  const wanted = box.checked;
  if (box.dataset.confirm && !(await askFor(box))) return;
  box.setAttribute("aria-busy", "true");
  try {
    const field = box.dataset.switchField || "enabled";
    const answer = await api.call(box.dataset.switchMethod || "PUT", box.dataset.switch, { [field]: wanted });
    box.checked = typeof answer?.[field] === "boolean" ? answer[field] : wanted;
    box.dispatchEvent(new CustomEvent("jt:switched", { bubbles: true, detail: answer }));
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
  } finally {
    box.removeAttribute("aria-busy");
  }
}

function onClick(event) {
  const copy = event.target.closest("[data-copy], [data-copy-from]");
  if (event.target.closest("[data-theme-flip]")) flipTheme();
  else if (event.target.closest("[data-rail-flip]")) flipRail();
  else if (copy) copyText(copy);
}

/** A filter form sends itself as soon as a choice changes. */
function onChange(event) {
  if (event.target.closest("[data-autosubmit]")) event.target.form?.requestSubmit();
}

let goSince = 0;

function onKey(event) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openFind();
    return;
  }
  const busy = event.target.closest?.(TYPED_INTO);
  if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "g") {
    goSince = event.timeStamp;
  } else if (event.timeStamp - goSince < GO_WITHIN_MS && goSince) {
    goSince = 0;
    document.querySelector(`[data-go="${CSS.escape(event.key)}"]`)?.click();
  } else if (event.key === "t") {
    flipTheme();
  } else if (event.key === "[") {
    flipRail();
  }
}

function startClock() {
  const zone = document.body.dataset.zone || "UTC";
  const place = document.getElementById("jt-clock");
  const tick = () => {
    const now = Date.now() + (live?.state.offset ?? 0);
    if (place) {
      place.textContent = format.clock(now, { zone });
      place.title = format.utc(now);
    }
    for (const time of document.querySelectorAll("time[data-age]")) {
      const text = [format.age((now - Date.parse(time.dateTime)) / 1000), time.dataset.age].filter(Boolean).join(" ");
      if (time.textContent !== text) time.textContent = text;
    }
  };
  tick();
  setInterval(tick, 1000);
}

/** A new user's time zone is the browser's, until they choose another. */
function nameZone() {
  for (const input of document.querySelectorAll("input[data-zone-of-browser]")) {
    input.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  }
}

startToasts();
nameZone();
startConfirm();
startFind();
startHtmx();
startClock();
startRestore();
document.addEventListener("click", onClick);
document.addEventListener("click", onSwitch);
document.addEventListener("change", onChange);
document.addEventListener("keydown", onKey);
if (live) {
  startValues(live);
  startConnection(live);
  startReloads();
  startNews(live, toast);
}
mountAll();
markScrollers();
window.addEventListener("resize", markScrollers);
live?.start();
window.dispatchEvent(new CustomEvent("jt:ready"));
