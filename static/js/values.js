/**
 * Single values that the stream changes: `data-live="topic.field"`.
 *
 * `data-format` says how the raw value is written (signed, money, price, qty, percent, latency, age,
 * when, clock, chip, text), with `data-unit` and `data-places`. The raw value stays in `data-value`.
 */

import * as format from "./format.js";

const FLASH_MS = 700;
const FLASH_EVERY_MS = 1000;
const NUMERIC = new Set(["signed", "money", "price", "qty", "percent"]);

const CHIPS = {
  ok: ["filled", "connected", "recording", "traded", "done", "on", "active", "delivered", "in_sync"],
  work: ["working", "submitting", "accepted", "triggered", "received", "executing", "connecting"],
  part: ["partially_filled", "partly_traded"],
  bad: ["rejected", "out_of_sync", "disconnected", "failed", "locked", "error", "refused", "not_found", "killed"],
  off: ["created", "cancelled", "expired", "skipped", "stopped", "off", "inactive", "ignored", "duplicate", "closed", "revoked", "ended"],
};

const lastFlash = new WeakMap();

function zone() {
  return document.body.dataset.zone || "UTC";
}

function words(value) {
  const text = String(value).replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function chipShape(status) {
  const key = String(status).toLowerCase().replaceAll(" ", "_");
  return Object.keys(CHIPS).find((shape) => CHIPS[shape].includes(key)) ?? "wait";
}

function options({ unit, places }) {
  const chosen = {};
  if (unit !== undefined) chosen.unit = unit;
  if (places) chosen.places = Number(places);
  return chosen;
}

function textOf(element, value) {
  const kind = element.dataset.format || "text";
  if (value === null || value === undefined) return "";
  if (kind === "chip") return words(value);
  if (kind === "when" || kind === "clock") return format[kind](value, { zone: zone() });
  return kind in format ? format[kind](value, options(element.dataset)) : String(value);
}

function colour(element, value) {
  const sign = format.signOf(value);
  element.classList.toggle("jt-pos", sign > 0);
  element.classList.toggle("jt-neg", sign < 0);
}

function flash(element, direction) {
  const now = performance.now();
  if (now - (lastFlash.get(element) ?? -Infinity) < FLASH_EVERY_MS) return;
  lastFlash.set(element, now);
  const name = direction > 0 ? "jt-flash-up" : "jt-flash-down";
  element.classList.add(name);
  setTimeout(() => element.classList.remove(name), FLASH_MS);
}

/** Writes one raw value into one element; unchanged values touch nothing. */
export function write(element, value) {
  const raw = value === null || value === undefined ? "" : String(value);
  const before = element.dataset.value ?? "";
  if (element.dataset.value === raw) return;
  element.dataset.value = raw;
  element.textContent = textOf(element, value);
  const kind = element.dataset.format;
  if (kind === "chip") element.className = `jt-chip jt-chip--${chipShape(value)}`;
  if (kind === "signed") colour(element, raw);
  if (NUMERIC.has(kind) && raw && before) {
    const direction = format.compare(raw, before);
    if (direction) flash(element, direction);
  }
}

/** Writes every value of a topic that the page shows: `writeTopic("position:12", {last_price: "1"})`. */
export function writeTopic(topic, values, root = document) {
  for (const [field, value] of Object.entries(values)) {
    if (value !== null && typeof value === "object") continue;
    for (const element of root.querySelectorAll(`[data-live="${CSS.escape(`${topic}.${field}`)}"]`)) {
      write(element, value);
    }
  }
}

/** Which topic an event's data belongs to: its noun and its id. */
const TOPICS = {
  "position:update": (data) => `position:${data.id}`,
  "order:update": (data) => `order:${data.id}`,
  "balance:update": (data) => `account:${data.account_id ?? data.id}`,
  "account:status": (data) => `account:${data.account_id ?? data.id}`,
  "strategy:status": (data) => `strategy:${data.strategy_id ?? data.id}`,
  "trader:status": (data) => `trader:${data.trader_id ?? data.id}`,
  signal: (data) => `signal:${data.signal_id ?? data.id}`,
};

export function startValues(live) {
  for (const [type, topicOf] of Object.entries(TOPICS)) {
    live.on(type, (data) => data && writeTopic(topicOf(data), data));
  }
  live.on("marks", (data) => {
    for (const position of data?.positions ?? []) writeTopic(`position:${position.id}`, position);
    for (const [topic, values] of Object.entries(data?.totals ?? {})) writeTopic(topic, values);
  });
}
