import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { test } from "node:test";

import { Burst, ofAlarms, ofFills, ofRejects, startNews, turn } from "../../../static/js/news.js";

const fill = (more = {}) => ({ contract: "ESZ6", side: "buy", quantity: "1", price: "5000.25", ...more });
const account = (status, state, more = {}) => ({ id: 1, name: "Demo", status, stream: { state }, ...more });

test("one fill says what was traded at what price", () => {
  assert.deepEqual(ofFills([fill({ quantity: "2" })]), { title: "Bought 2 ESZ6", text: "At 5,000.25." });
});

test("many fills are summed per contract and side, exactly", () => {
  const many = [...Array(10).fill(fill({ quantity: "0.1" })), fill({ side: "sell" }), fill({ contract: "NQZ6" }), fill({ contract: "CLZ6" })];
  assert.deepEqual(ofFills(many), { title: "13 fills", text: "Bought 1 ESZ6, Sold 1 ESZ6, Bought 1 NQZ6 and 1 more." });
});

test("rejects name the first and its reason", () => {
  const order = { side: "sell", quantity: "1", contract: "ESZ6", reason: "Too far." };
  assert.deepEqual(ofRejects([order]), { title: "Rejected: Sell 1 ESZ6", text: "Too far." });
  assert.equal(ofRejects([order, order]).text, "The first: Sell 1 ESZ6, Too far.");
});

test("a reject is told without the code before its words", () => {
  const order = { side: "buy", quantity: "1", contract: "ESZ6" };
  assert.equal(ofRejects([{ ...order, reason: "session_closed: The market is closed" }]).text, "The market is closed");
  assert.equal(ofRejects([{ ...order, reason: "no_answer" }]).text, "no answer");
  assert.equal(ofRejects([{ ...order, reason: null }]).text, "");
});

test("an alarm says what it is about", () => {
  const line = { event: "unprotected", message: "Demo: ESZ6 has no stop." };
  assert.deepEqual(ofAlarms([line]), { title: "A position is not protected", text: "Demo: ESZ6 has no stop." });
  assert.deepEqual(ofAlarms([line, { event: "orphan", message: "Demo: one leg." }]), {
    title: "2 alarms",
    text: "Demo: ESZ6 has no stop. Demo: one leg.",
  });
});

test("an account is lost once and back once", () => {
  assert.equal(turn(undefined, account("connected", "live")), "");
  assert.equal(turn(undefined, account("disconnected", "disconnected")), "lost");
  assert.equal(turn("lost", account("connecting", "connecting")), "");
  assert.equal(turn("lost", account("error", "stopped")), "");
  assert.equal(turn("lost", account("connected", "live")), "back");
  assert.equal(turn(undefined, account("disconnected", "stopped")), "");
});

test("a burst is handed on once it is quiet", async () => {
  const said = [];
  const burst = new Burst((held) => said.push(held.length), { quiet: 20, longest: 1000 });
  for (let number = 0; number < 20; number += 1) burst.add(number);
  await pause(60);
  burst.add(21);
  await pause(60);
  assert.deepEqual(said, [20, 1]);
});

test("a burst that does not end is handed on in between", async () => {
  const said = [];
  const burst = new Burst((held) => said.push(held.length), { quiet: 40, longest: 80 });
  for (let number = 0; number < 20; number += 1) {
    burst.add(number);
    await pause(10);
  }
  assert.ok(said.length >= 1, String(said));
});

/** A live client and a toaster by hand. */
function page() {
  const handlers = {};
  const shown = [];
  const live = { on: (type, fn) => (handlers[type] = fn) };
  const toast = (message) => {
    const element = { ...message, remove: () => (element.gone = true) };
    shown.push(element);
    return element;
  };
  startNews(live, toast);
  const hear = (type, data, event = {}) => handlers[type](data, { seen: false, ...event });
  return { shown, hear };
}

test("twenty fills are one toast, and what was seen before is none", async () => {
  const { shown, hear } = page();
  for (let number = 0; number < 20; number += 1) hear("fill", fill());
  hear("fill", fill(), { seen: true });
  await pause(700);
  assert.deepEqual(shown.map((toast) => toast.title), ["20 fills"]);
});

test("orders of others that are rejected are not our news", async () => {
  const { shown, hear } = page();
  hear("order:update", { status: "rejected", external: true, side: "buy", quantity: "1", contract: "ESZ6" });
  hear("order:update", { status: "working", side: "buy", quantity: "1", contract: "ESZ6" });
  await pause(700);
  assert.deepEqual(shown, []);
});

test("a lost log-in stays said until it is back", async () => {
  const { shown, hear } = page();
  hear("account:status", account("disconnected", "disconnected", { last_error: null }));
  hear("account:status", account("disconnected", "disconnected", { id: 2, name: "Live", last_error: null }));
  await pause(700);
  hear("account:status", account("connected", "live"));
  hear("account:status", account("connected", "live", { id: 2, name: "Live" }));
  await pause(700);
  assert.deepEqual(
    shown.map(({ title, gone, kind }) => [title, kind ?? "", Boolean(gone)]),
    [
      ["2 accounts lost the connection", "bad", true],
      ["2 accounts connected again", "", false],
    ],
  );
});

test("who disconnects himself is told nothing", async () => {
  const { shown, hear } = page();
  hear("account:status", account("disconnected", "stopped"));
  await pause(700);
  assert.deepEqual(shown, []);
});
