/** The log as it is written: new lines go on top, until the reader asks to pause. */

import { announce, el } from "../dom.js";

const MOST_LINES = 1000;
const KINDS = { warning: ["is-warn", "Warn"], error: ["is-error", "Error"], info: ["", "Info"] };

function kindOf({ level, event }) {
  if (event === "fill" && level === "info") return ["is-trade", "Trade"];
  return KINDS[level] ?? ["", level];
}

export default function mount(root, { live, format }) {
  if (!live) return undefined;
  const list = root.querySelector(".jt-log");
  const pause = root.querySelector("[data-pause]");
  const newest = root.querySelector("[data-read-newest]");
  const names = { strategy: JSON.parse(root.dataset.strategies), account: JSON.parse(root.dataset.accounts) };
  const zone = document.body.dataset.zone || "UTC";
  let held = null;

  const wanted = (line) =>
    (!root.dataset.level || line.level === root.dataset.level) &&
    (!root.dataset.strategy || String(line.strategy_id) === root.dataset.strategy) &&
    (!root.dataset.account || String(line.account_id) === root.dataset.account);

  const whose = (line) => names.strategy[line.strategy_id] ?? names.account[line.account_id] ?? "";

  function build(line) {
    const [kind, word] = kindOf(line);
    const at = Date.parse(line.created_at);
    const name = whose(line);
    const link = line.signal_id ? el("a", { href: `/signals/${Number(line.signal_id)}/` }, `Signal ${Number(line.signal_id)}`) : null;
    return el(
      "li",
      { id: `log-${Number(line.id)}`, class: kind || null },
      el("time", { datetime: line.created_at, title: format.utc(at) }, format.when(at, { zone, ms: true })),
      el("span", { class: "lv" }, word),
      el("span", { class: "wh jt-cut" }, name),
      el("span", { class: "tx" }, el("span", { class: "jt-only-phone jt-3rd" }, word === "Info" ? name : `${name}, ${word.toLowerCase()}`), line.message, link && " ", link),
    );
  }

  function put(line) {
    if (document.getElementById(`log-${Number(line.id)}`)) return;
    list.querySelector("[data-empty]")?.remove();
    list.prepend(build(line));
    const total = root.querySelector("[data-total]");
    total.textContent = String(Number(total.textContent) + 1);
    const lines = list.querySelectorAll("li[id]");
    if (lines.length <= MOST_LINES) return;
    // What is cut off at the end is a page load away; the button to load older goes with it.
    for (const old of [...lines].slice(MOST_LINES)) old.remove();
    list.querySelector("[data-older]")?.remove();
  }

  function say() {
    pause.querySelector("span").textContent = held === null ? "Pause" : held.length ? `Show ${held.length} new` : "Go on";
    pause.setAttribute("aria-pressed", String(held !== null));
  }

  function flip() {
    const waiting = held;
    held = held === null ? [] : null;
    for (const line of waiting ?? []) put(line);
    say();
  }

  function read() {
    const first = list.querySelector("li[id]");
    announce(first ? first.textContent : "The log is empty");
  }

  pause.hidden = newest.hidden = false;
  pause.addEventListener("click", flip);
  newest.addEventListener("click", read);
  return live.on("log", (line) => {
    if (!wanted(line)) return;
    if (held === null) {
      put(line);
    } else {
      held.push(line);
      say();
    }
  });
}
