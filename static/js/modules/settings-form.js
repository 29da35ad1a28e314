/** Counts what was changed in a form of settings and says so on its button. */

const FIELDS = "input:not([type=hidden]), select, textarea";

function isChanged(field) {
  if (field.type === "radio" || field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.tagName === "SELECT") {
    const before = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
    return field.value !== (before?.value ?? "");
  }
  return field.value !== field.defaultValue;
}

export default function mount(form) {
  const button = form.querySelector("[data-save]");
  const verb = button?.dataset.save;

  function count() {
    const rows = new Set();
    for (const field of form.querySelectorAll(FIELDS)) {
      if (isChanged(field)) rows.add(field.closest(".jt-set") ?? field);
    }
    if (verb) button.textContent = rows.size ? `${verb} ${rows.size} ${rows.size === 1 ? "setting" : "settings"}` : `${verb} settings`;
  }

  function onChange(event) {
    const word = event.target.closest(".jt-switch")?.querySelector("span");
    if (word && !word.classList.contains("jt-sr")) word.textContent = event.target.checked ? "On" : "Off";
    count();
  }

  form.addEventListener("input", count);
  form.addEventListener("change", onChange);
  count();
}
