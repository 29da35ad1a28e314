/**
 * Keeps sums that contain open results up to date: `data-open-of` names the positions (by id),
 * `data-open-base` is what is added to them. A sum with a position that has no price stays.
 */

import { scaled, unscaled } from "../decimal.js";

export default function mount(root, { live, write }) {
  if (!live) return undefined;
  const open = new Map();

  function sum(element) {
    const ids = element.dataset.openOf.split(" ").filter(Boolean);
    if (!ids.length || ids.some((id) => !open.has(id))) return;
    const total = ids.reduce((amount, id) => amount + open.get(id), scaled(element.dataset.openBase));
    write(element, unscaled(total));
  }

  return live.on("marks", (data) => {
    for (const { id, unrealized_pnl: pnl } of data?.positions ?? []) {
      if (pnl !== null) open.set(String(id), scaled(pnl));
    }
    for (const element of root.querySelectorAll("[data-open-of]")) sum(element);
  });
}
