/**
 * A form whose settings inherit: what is empty inherits, typing overrides, *Inherit* empties again.
 * A setting with parts has a choice before it (`….mode`) that typing into a part turns to *Own*.
 */

import { el } from "../dom.js";

const isMode = (field) => field.name.endsWith(".mode");
const fieldsOf = (row) => [...row.querySelectorAll(".jt-set-ctl :is(input, select, textarea)")];

/** A unit beside a number says nothing by itself. */
function isOver(row) {
  const fields = fieldsOf(row);
  const mode = fields.find(isMode);
  return mode ? mode.value !== "" : fields.some((field) => field.value.trim() !== "");
}

function show(row) {
  const over = isOver(row);
  if (row.classList.contains("is-over") === over && row.dataset.shown !== undefined) return;
  row.dataset.shown = "";
  row.classList.toggle("is-over", over);
  const place = row.querySelector(".jt-set-src");
  if (!over) {
    place.replaceChildren(`From ${row.dataset.source}`);
    return;
  }
  const label = row.querySelector(".jt-set-name > :first-child").textContent;
  const button = el("button", { class: "jt-link", type: "button", "data-inherit": row.dataset.setting }, "Inherit", el("span", { class: "jt-sr" }, ` ${label}`));
  place.replaceChildren(el("span", {}, `Strategy says ${row.dataset.inherited}`), " ", button);
}

function inherit(row) {
  for (const field of fieldsOf(row)) {
    if (field.tagName !== "SELECT") field.value = "";
    else if (isMode(field) || [...field.options].some((option) => option.value === "")) field.value = "";
  }
  const first = fieldsOf(row)[0];
  first?.focus();
  first?.dispatchEvent(new Event("input", { bubbles: true }));
  first?.dispatchEvent(new Event("change", { bubbles: true }));
}

function count(root) {
  for (const section of root.querySelectorAll("section[id]")) {
    const own = section.querySelectorAll(".jt-set.is-over").length;
    const badge = document.querySelector(`[data-own-of="${CSS.escape(section.id)}"]`);
    if (!badge) continue;
    badge.textContent = String(own);
    badge.hidden = own === 0;
  }
}

export default function mount(root) {
  function onInput({ target }) {
    const row = target.closest(".jt-set");
    if (!row) return;
    const mode = fieldsOf(row).find(isMode);
    if (mode && target !== mode && target.value.trim() !== "" && mode.value !== "own") mode.value = "own";
    if (target === mode && mode.value !== "own") {
      for (const field of fieldsOf(row)) if (field.tagName !== "SELECT") field.value = "";
    }
    show(row);
    count(root);
  }

  function onClick(event) {
    const button = event.target.closest("[data-inherit]");
    if (button) inherit(button.closest(".jt-set"));
  }

  root.addEventListener("input", onInput);
  root.addEventListener("change", onInput);
  root.addEventListener("click", onClick);
  for (const row of root.querySelectorAll(".jt-set")) show(row);
  count(root);
}
