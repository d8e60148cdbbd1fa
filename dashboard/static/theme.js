// Runs before the page is painted, so that a chosen theme does not flash. Without a choice the
// system's is used.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("openqoe-theme");
  } catch {
    // Storage may be forbidden; then a choice lasts as long as the page.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
