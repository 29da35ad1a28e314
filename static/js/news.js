/**
 * Says what a trader must not miss, wherever they are: fills, rejected orders, positions without their
 * stop, accounts out of sync, log-ins that were lost and came back. What comes within a moment is one message, however much it is.
 */

import { scaled, unscaled } from "./decimal.js";
import * as format from "./format.js";

const QUIET_MS = 500;
const LONGEST_MS = 2000;
const NAMED = 3;

const plural = (count, one, many = `${one}s`) => (count === 1 ? `1 ${one}` : `${count} ${many}`);

/** Gathers what comes until it is quiet for a moment, at most for two seconds, then hands it on. */
export class Burst {
  constructor(say, { quiet = QUIET_MS, longest = LONGEST_MS } = {}) {
    Object.assign(this, { say, quiet, longest, held: [], timer: null, until: 0 });
  }

  add(item) {
    const now = performance.now();
    if (!this.held.length) this.until = now + this.longest;
    this.held.push(item);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.end(), Math.max(0, Math.min(this.quiet, this.until - now)));
  }

  end() {
    const held = this.held;
    this.held = [];
    this.say(held);
  }
}

function sums(fills) {
  const totals = new Map();
  for (const { contract, side, quantity } of fills) {
    const key = `${side === "buy" ? "Bought" : "Sold"} ${contract}`;
    totals.set(key, (totals.get(key) ?? 0n) + scaled(quantity));
  }
  return [...totals].map(([key, total]) => key.replace(" ", ` ${format.qty(unscaled(total))} `));
}

/** `{title, text}` of some fills. */
export function ofFills(fills) {
  if (fills.length === 1) {
    const [{ contract, side, quantity, price }] = fills;
    return { title: `${side === "buy" ? "Bought" : "Sold"} ${format.qty(quantity)} ${contract}`, text: `At ${format.price(price)}.` };
  }
  const lines = sums(fills);
  const more = lines.length > NAMED ? ` and ${lines.length - NAMED} more` : "";
  return { title: plural(fills.length, "fill"), text: `${lines.slice(0, NAMED).join(", ")}${more}.` };
}

/** Why an order ended, without the code that stands before the words. */
export function spoken(reason) {
  const words = (reason ?? "").replace(/^[a-z0-9_]+: /, "");
  return words.includes(" ") ? words : words.replaceAll("_", " ");
}

const ALARMS = {
  unprotected: "A position is not protected",
  orphan: "Orders are left over",
  out_of_sync: "An account is out of sync",
};

/** `{title, text}` of lines of the log that nobody may miss. */
export function ofAlarms(lines) {
  const [{ event, message }] = lines;
  if (lines.length === 1) return { title: ALARMS[event], text: message };
  return { title: `${lines.length} alarms`, text: lines.slice(-NAMED).map((line) => line.message).join(" ") };
}

/** `{title, text}` of some orders that were rejected. */
export function ofRejects(orders) {
  const [{ side, quantity, contract, reason: told }] = orders;
  const reason = spoken(told);
  const first = `${side === "buy" ? "Buy" : "Sell"} ${format.qty(quantity)} ${contract}`;
  if (orders.length === 1) return { title: `Rejected: ${first}`, text: reason };
  return { title: `${orders.length} orders were rejected`, text: `The first: ${first}${reason ? `, ${reason}` : ""}` };
}

/** What changed for a person between two states of an account's stream: "lost", "back" or "". */
export function turn(before, account) {
  const isDown = account.status === "error" || (account.status === "disconnected" && account.stream.state !== "stopped");
  if (isDown) return before === "lost" ? "" : "lost";
  return account.status === "connected" && before === "lost" ? "back" : "";
}

function ofAccounts(accounts, did, one) {
  const names = accounts.map((account) => account.name);
  if (names.length === 1) return { title: `${names[0]} ${did}`, text: one(accounts[0]) };
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
  return { title: `${names.length} accounts ${did}`, text: `${names.slice(0, NAMED).join(", ")}${more}.` };
}

/** One message of a kind stays until it is closed; the next one takes its place. */
function standing(toast) {
  let shown = null;
  return {
    say(message) {
      shown?.remove();
      shown = message ? toast({ kind: "bad", ...message }) : null;
    },
  };
}

export function startNews(live, toast) {
  const rejected = standing(toast);
  const down = standing(toast);
  const alarmed = standing(toast);
  const states = new Map();
  const lost = new Map();

  const fills = new Burst((held) => toast(ofFills(held)));
  const rejects = new Burst((held) => rejected.say({ ...ofRejects(held), href: "/logs/", link: "See the log" }));
  const alarms = new Burst((held) => alarmed.say({ ...ofAlarms(held), href: "/logs/?level=error", link: "See the log" }));
  const streams = new Burst(() => sayStreams());
  let back = new Map();

  function sayStreams() {
    const gone = [...lost.values()];
    down.say(gone.length ? ofAccounts(gone, "lost the connection", (a) => a.last_error ?? a.stream.reason ?? "It is tried again.") : null);
    if (back.size) toast(ofAccounts([...back.values()], "connected again", () => ""));
    back = new Map();
  }

  live.on("fill", (fill, { seen }) => !seen && fills.add(fill));
  live.on("order:update", (order, { seen }) => {
    if (!seen && order.status === "rejected" && !order.external) rejects.add(order);
  });
  live.on("log", (line, { seen }) => {
    if (!seen && line.level === "error" && line.event in ALARMS) alarms.add(line);
  });
  live.on("account:status", (account, { seen }) => {
    if (seen || !account.stream) return;
    const what = turn(states.get(account.id), account);
    if (account.status === "disconnected" && account.stream.state === "stopped") {
      // Their own doing: nothing to say, and nothing to wait for.
      states.delete(account.id);
      if (lost.delete(account.id)) streams.add(account);
      return;
    }
    if (!what) return;
    states.set(account.id, what);
    if (what === "lost") {
      lost.set(account.id, account);
      back.delete(account.id);
    } else if (lost.delete(account.id)) {
      back.set(account.id, account);
    }
    streams.add(account);
  });
}
