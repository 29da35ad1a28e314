// Runs before the first paint: what this browser chose last time. Nothing chosen leaves the default.
(() => {
  const root = document.documentElement;
  const choices = { "jt-theme": "bsTheme", "jt-rail": "jtRail", "jt-density": "jtDensity" };
  try {
    for (const [key, attribute] of Object.entries(choices)) {
      const value = localStorage.getItem(key);
      if (value) root.dataset[attribute] = value;
    }
  } catch {
    // Storage can be forbidden; the page then starts with its defaults.
  }
})();
