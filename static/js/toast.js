/** The answer to one's own click: five seconds, errors stay until closed. */

import { el, icon } from "./dom.js";

const SHOWN_MS = 5000;

function leaveLater(element) {
  let timer = setTimeout(() => element.remove(), SHOWN_MS);
  // Who points at it or has focus in it is still reading.
  const hold = () => clearTimeout(timer);
  const release = () => {
    clearTimeout(timer);
    timer = setTimeout(() => element.remove(), SHOWN_MS);
  };
  element.addEventListener("pointerenter", hold);
  element.addEventListener("focusin", hold);
  element.addEventListener("pointerleave", release);
  element.addEventListener("focusout", release);
}

function closeButton() {
  const attributes = { class: "jt-btn jt-btn--quiet jt-btn--sm jt-btn--icon", type: "button", "data-toast-close": true, "aria-label": "Close message" };
  return el("button", attributes, icon("x", true));
}

/** `{title, text, kind: "" | "bad", undo: fn, href, link}` */
export function toast({ title, text = "", kind = "", undo = null, href = "", link = "Open" }) {
  const region = document.getElementById("jt-toasts");
  if (!region) return null;
  const bad = kind === "bad";
  const body = el("div", { class: "jt-grow" }, el("p", { class: "jt-strong" }, title), text ? el("p", { class: "jt-small jt-2nd" }, text) : null);
  const element = el("div", { class: bad ? "jt-toast jt-toast--bad" : "jt-toast", role: bad ? "alert" : "status" }, icon(bad ? "alert" : "check"), body);
  if (undo) {
    const button = el("button", { class: "jt-btn jt-btn--quiet jt-btn--sm", type: "button" }, "Undo");
    button.addEventListener("click", () => {
      element.remove();
      undo();
    });
    element.append(button);
  }
  if (href) element.append(el("a", { class: "jt-small jt-nowrap", href }, link));
  element.append(closeButton());
  region.append(element);
  if (!bad) leaveLater(element);
  return element;
}

/** Takes over the toasts that the server rendered and every close button. */
export function startToasts() {
  const region = document.getElementById("jt-toasts");
  if (!region) return;
  for (const element of region.querySelectorAll(".jt-toast:not(.jt-toast--bad)")) leaveLater(element);
  region.addEventListener("click", (event) => {
    event.target.closest("[data-toast-close]")?.closest(".jt-toast").remove();
  });
}
