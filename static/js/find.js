/** The jump dialog: pages by name, Ctrl K or the phone's More. Without JavaScript it opens by its address. */

const dialog = () => document.getElementById("jt-find");

function entries(root) {
  return [...root.querySelectorAll(".jt-find-list > li")];
}

function filter(root) {
  const wanted = root.querySelector("[data-find-input]").value.trim().toLowerCase();
  let shown = 0;
  for (const item of entries(root)) {
    item.hidden = wanted !== "" && !item.textContent.trim().toLowerCase().includes(wanted);
    if (!item.hidden) shown += 1;
  }
  root.querySelector(".jt-find-none").hidden = shown > 0;
}

const target = (item) => item.querySelector("a, button");
const targets = (root) => entries(root).filter((item) => !item.hidden).map(target);

function move(root, step) {
  const list = targets(root);
  if (!list.length) return;
  const at = list.indexOf(document.activeElement);
  const next = at + step;
  if (next < 0) root.querySelector("[data-find-input]").focus();
  else list[Math.min(next, list.length - 1)].focus();
}

function onKey(root, event) {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    move(root, event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter" && event.target.matches("[data-find-input]")) {
    event.preventDefault();
    targets(root)[0]?.click();
  }
}

export function openFind() {
  const root = dialog();
  if (!root || root.open) return;
  const input = root.querySelector("[data-find-input]");
  input.value = "";
  filter(root);
  root.showModal();
  // On a phone the keyboard would cover the list that More was opened for.
  if (matchMedia("(pointer: coarse)").matches) root.querySelector("[data-find-close]").focus();
  else input.focus();
}

export function startFind() {
  const root = dialog();
  if (!root) return;
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-find]")) {
      event.preventDefault();
      openFind();
    } else if (event.target === root || event.target.closest("[data-find-close]")) {
      event.preventDefault();
      root.close();
    }
  });
  root.addEventListener("input", () => filter(root));
  root.addEventListener("keydown", (event) => onKey(root, event));
}
