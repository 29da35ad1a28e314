/** Sums of decimal strings without a float in between. */

const PLACES = 8;

/** A decimal string as a whole number of 10⁻⁸. */
export function scaled(text) {
  const [, minus, whole, fraction = ""] = /^(-?)(\d*)\.?(\d*)/.exec(text);
  const digits = BigInt((whole || "0") + fraction.slice(0, PLACES).padEnd(PLACES, "0"));
  return minus ? -digits : digits;
}

export function unscaled(amount) {
  const digits = String(amount < 0n ? -amount : amount).padStart(PLACES + 1, "0");
  return `${amount < 0n ? "-" : ""}${digits.slice(0, -PLACES)}.${digits.slice(-PLACES)}`;
}
