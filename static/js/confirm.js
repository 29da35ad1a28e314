/**
 * The question before money moves or something is deleted.
 *
 * `data-confirm` is the title. Optional: `data-confirm-effects` (a JSON list, one line each),
 * `data-confirm-keep` (the safe button), `data-confirm-act` (the other), `data-confirm-env="live"`
 * (says Real money), `data-confirm-danger` (the acting button is filled in the loss colour).
 */

import { el } from "./dom.js";

let count = 0;

function linesOf(text) {
  if (!text) return [];
  try {
    return JSON.parse(text);
  } catch {
    return [text];
  }
}

function optionsOf(element) {
  const { confirm, confirmEffects, confirmKeep, confirmAct, confirmEnv, confirmDanger } = element.dataset;
  return {
    title: confirm,
    effects: linesOf(confirmEffects),
    keep: confirmKeep || "Cancel",
    act: confirmAct || element.textContent.trim().replace(/\u2026$/, "") || "Go on",
    environment: confirmEnv ?? "",
    danger: confirmDanger !== undefined,
  };
}

function build({ title, effects, keep, act, environment, danger }) {
  count += 1;
  const ids = { title: `jt-ask-${count}`, text: `jt-ask-text-${count}` };
  const lines = effects.length ? el("ul", { class: "jt-stack" }, ...effects.map((line) => el("li", {}, line))) : null;
  const badge = environment ? el("span", { class: `jt-badge jt-badge--${environment.toLowerCase()}` }, environment.toUpperCase()) : null;
  const money = environment.toLowerCase() === "live" ? " Real money." : "";
  const place = badge ? el("p", { class: "jt-row" }, badge, money) : null;
  const safe = el("button", { class: "jt-btn", type: "button", value: "", autofocus: true }, keep);
  const go = el("button", { class: `jt-btn ${danger ? "jt-btn--sell" : "jt-btn--primary"}`, type: "button", value: "go" }, act);
  const text = el("div", { id: ids.text, class: "jt-stack" }, place, lines);
  const body = el("div", { class: "jt-dialog-body" }, el("h2", { id: ids.title }, title), text);
  const dialog = el(
    "dialog",
    { class: "jt-dialog", role: "alertdialog", "aria-labelledby": ids.title, "aria-describedby": ids.text },
    body,
    el("div", { class: "jt-dialog-foot" }, safe, go),
  );
  for (const button of [safe, go]) button.addEventListener("click", () => dialog.close(button.value));
  return dialog;
}

/** Resolves to true when the acting button was chosen. Focus returns to where it was. */
export function ask(options) {
  const before = document.activeElement;
  const dialog = build({ effects: [], keep: "Cancel", act: "Go on", environment: "", danger: false, ...options });
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus?.();
      resolve(dialog.returnValue === "go");
    });
  });
}

export const askFor = (element) => ask(optionsOf(element));

const agreed = new WeakSet();

/** The form is sent again by the button that was pressed, so its name and value go along. */
async function guardSubmit(event) {
  const form = event.target;
  const holder = event.submitter?.dataset.confirm ? event.submitter : form;
  if (!holder.dataset.confirm || agreed.delete(form)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!(await askFor(holder))) return;
  agreed.add(form);
  form.requestSubmit(event.submitter ?? undefined);
}

/** Buttons outside a form: the click is repeated once it was agreed to. */
async function guardClick(event) {
  const button = event.target.closest("button[data-confirm], a[data-confirm]");
  if (!button || button.form || agreed.delete(button)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!(await askFor(button))) return;
  agreed.add(button);
  button.click();
}

export function startConfirm() {
  document.addEventListener("submit", guardSubmit, true);
  document.addEventListener("click", guardClick, true);
}
