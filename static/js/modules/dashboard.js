/** Keeps the open result, and with it today's, at the sum of the positions that the page shows. */

const PLACES = 8;

/** A decimal string as a whole number of 10⁻⁸. */
function scaled(text) {
  const [, minus, whole, fraction = ""] = /^(-?)(\d*)\.?(\d*)/.exec(text);
  const digits = BigInt((whole || "0") + fraction.slice(0, PLACES).padEnd(PLACES, "0"));
  return minus ? -digits : digits;
}

function text(amount) {
  const digits = String(amount < 0n ? -amount : amount).padStart(PLACES + 1, "0");
  return `${amount < 0n ? "-" : ""}${digits.slice(0, -PLACES)}.${digits.slice(-PLACES)}`;
}

export default function mount(panel, { live, writeTopic }) {
  function sum() {
    let open = 0n;
    for (const cell of panel.querySelectorAll('[data-live^="position:"][data-live$=".unrealized_pnl"]')) {
      if (cell.dataset.value) open += scaled(cell.dataset.value);
    }
    const closed = scaled(document.getElementById("dash-figures")?.dataset.closedToday ?? "0");
    writeTopic("dashboard", { open: text(open), today: text(open + closed) });
  }
  const stops = ["marks", "position:update"].map((type) => live?.on(type, sum));
  // A reload of this panel or of the figures brings the server's own sums along.
  document.addEventListener("htmx:after:swap", sum);
  return () => {
    for (const stop of stops) stop?.();
    document.removeEventListener("htmx:after:swap", sum);
  };
}
