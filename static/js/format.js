/**
 * Figures and times as app/pages/filters.py writes them; both are held to tests/data/formats.json.
 * Amounts arrive as decimal strings and never pass through a float.
 */

const MINUS = "\u2212";
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_MS = 86_400_000;

/** A decimal as sign, digits and how many of them stand behind the point. */
function parse(value) {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d+))?$/i.exec(String(value).trim());
  if (!match || (!match[2] && !match[3])) throw new TypeError(`not a decimal: ${value}`);
  const [, sign, whole, fraction = "", exponent = "0"] = match;
  let digits = BigInt(whole + fraction || "0");
  let scale = fraction.length - Number(exponent);
  if (scale < 0) {
    digits *= 10n ** BigInt(-scale);
    scale = 0;
  }
  return { negative: sign === "-", digits, scale };
}

/** Half up, away from zero, to `places`; null keeps what is there. */
function round(value, places) {
  const { negative, digits, scale } = parse(value);
  if (places === null || places === undefined || places === scale) return { negative, digits, scale };
  if (places > scale) return { negative, digits: digits * 10n ** BigInt(places - scale), scale: places };
  const unit = 10n ** BigInt(scale - places);
  return { negative, digits: (digits + unit / 2n) / unit, scale: places };
}

function write({ digits, scale }) {
  const text = digits.toString().padStart(scale + 1, "0");
  const whole = text.slice(0, text.length - scale).replace(/\B(?=(\d{3})+$)/g, ",");
  return scale ? `${whole}.${text.slice(-scale)}` : whole;
}

function sign({ negative, digits }, plus) {
  if (digits === 0n) return "";
  return negative ? MINUS : plus;
}

const isNothing = (value) => value === null || value === undefined || value === "";

function amount(value, unit, places, plus) {
  if (isNothing(value)) return "";
  const rounded = round(value, places);
  const before = sign(rounded, plus);
  if (unit === "$" || unit === "USD") return `${before}$${write(rounded)}`;
  return unit ? `${before}${write(rounded)} ${unit}` : `${before}${write(rounded)}`;
}

/** `+$1,284.50`, `−$50.00`, `$0.00`, `+120.00 EUR`. */
export function signed(value, { unit = "$", places = 2 } = {}) {
  return amount(value, unit, places, "+");
}

/** `$100,000.00`; a sign only below zero. */
export function money(value, { unit = "$", places = 2 } = {}) {
  return amount(value, unit, places, "");
}

/** `21,442.25` at the contract's tick places; without places the value's own. */
export function price(value, { places = null } = {}) {
  return amount(value, "", places, "");
}

/** `3`, `0.015`, `−4`. */
export function qty(value) {
  if (isNothing(value)) return "";
  const parts = round(value, null);
  const text = write(parts);
  return sign(parts, "") + (parts.scale ? text.replace(/\.?0+$/, "") : text);
}

/** Percent points: `58.3 %`. */
export function percent(value, { places = 1, plus = false } = {}) {
  const text = amount(value, "", places, plus ? "+" : "");
  return text && `${text} %`;
}

/** Milliseconds: `8.2 ms`, `61 ms`, `1.1 s`, `38 s`. */
export function latency(value) {
  if (isNothing(value)) return "";
  const ms = Number(value);
  const near = (number, places) => Number(write(round(number.toFixed(6), places)).replaceAll(",", ""));
  if (near(ms, 1) < 10) return `${near(ms, 1).toFixed(1)} ms`;
  if (near(ms, 0) < 1000) return `${near(ms, 0)} ms`;
  if (near(ms / 1000, 1) < 10) return `${near(ms / 1000, 1).toFixed(1)} s`;
  return age(near(ms / 1000, 0));
}

const two = (number) => String(number).padStart(2, "0");

/** Seconds: `38 s`, `11 m`, `1 h 08 m`, `3 d 04 h`. */
export function age(value) {
  if (isNothing(value)) return "";
  const seconds = Math.max(Math.trunc(Number(value)), 0);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days) return `${days} d ${two(hours % 24)} h`;
  if (hours) return `${hours} h ${two(minutes % 60)} m`;
  return minutes ? `${minutes} m` : `${seconds} s`;
}

const formatters = new Map();

/** Year to second of an instant in a zone, as numbers. */
function local(instant, zone) {
  if (!formatters.has(zone)) {
    formatters.set(
      zone,
      new Intl.DateTimeFormat("en-US", {
        timeZone: zone,
        hourCycle: "h23",
        year: "numeric",
        month: "numeric",
        day: "numeric",
        hour: "2-digit",
        minute: "2-digit",
        second: "2-digit",
      }),
    );
  }
  const parts = {};
  for (const { type, value } of formatters.get(zone).formatToParts(instant)) parts[type] = Number(value);
  return parts;
}

const midnight = ({ year, month, day }) => Date.UTC(year, month - 1, day);

function timeOfDay(instant, parts, ms) {
  const text = `${two(parts.hour)}:${two(parts.minute)}:${two(parts.second)}`;
  return ms ? `${text}.${String(instant.getUTCMilliseconds()).padStart(3, "0")}` : text;
}

/** The time of day in a zone: `10:14:22`. */
export function clock(value, { zone = "UTC", ms = false } = {}) {
  if (isNothing(value)) return "";
  const instant = new Date(value);
  return timeOfDay(instant, local(instant, zone), ms);
}

/** `10:14:22` today, `Thu 11:20` in the six days before, `3 Nov 11:20`, `3 Nov 2025 11:20`. */
export function when(value, { zone = "UTC", ms = false, now = Date.now() } = {}) {
  if (isNothing(value)) return "";
  const instant = new Date(value);
  const then = local(instant, zone);
  const today = local(new Date(now), zone);
  const daysAgo = (midnight(today) - midnight(then)) / DAY_MS;
  const time = timeOfDay(instant, then, ms);
  if (daysAgo === 0) return time;
  const short = ms ? time : time.slice(0, 5);
  if (daysAgo > 0 && daysAgo < 7) return `${WEEKDAYS[new Date(midnight(then)).getUTCDay()]} ${short}`;
  const day = `${then.day} ${MONTHS[then.month - 1]}`;
  return then.year === today.year ? `${day} ${short}` : `${day} ${then.year} ${short}`;
}

/** `2026-11-20 16:14:22 UTC`, for a time's title. */
export function utc(value) {
  return isNothing(value) ? "" : `${new Date(value).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** -1, 0 or 1 of a decimal string. */
export function signOf(value) {
  if (isNothing(value)) return 0;
  const { negative, digits } = parse(value);
  if (digits === 0n) return 0;
  return negative ? -1 : 1;
}

/** -1, 0 or 1: how `next` stands to `before`, exactly. */
export function compare(next, before) {
  const a = parse(next);
  const b = parse(before);
  const scale = Math.max(a.scale, b.scale);
  const whole = ({ negative, digits, scale: own }) => {
    const scaled = digits * 10n ** BigInt(scale - own);
    return negative ? -scaled : scaled;
  };
  const difference = whole(a) - whole(b);
  if (difference === 0n) return 0;
  return difference > 0n ? 1 : -1;
}
