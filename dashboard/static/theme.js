// Runs before the page is painted, so that a chosen theme does not flicker. The default is the
// theme of the system.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("openqoe-theme");
  } catch {
    // Storage may be forbidden; the choice then lasts until the page is closed.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
