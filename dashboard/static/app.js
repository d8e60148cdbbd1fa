// The page: when to ask each question, and how answers and failures are shown.

import { AwayError, DeniedError, ask, workerTime } from "./api.js";
import * as charts from "./charts.js";
import { byId, el } from "./dom.js";
import * as filters from "./filters.js";
import * as format from "./format.js";
import * as panels from "./panels.js";
import { NAMES, state } from "./state.js";
import * as tail from "./tail.js";
import * as viewPage from "./view_page.js";
import * as views from "./views.js";

const EVERY = { "15m": 5_000, "1h": 10_000, "6h": 20_000, "24h": 60_000, "7d": 120_000 };

let by = panels.BREAKDOWNS[0];
let timer = null;
let asked = new AbortController();
let updatedAt = null;
const failures = new Map();

// Each question: its parameters besides range and filters, and the function that shows its answer.
const QUESTIONS = {
  overview: { of: "overview", show: (answer) => { panels.showTiles(answer); panels.showFunnel(answer); } },
  timeline: {
    of: "timeline",
    show: async (answer) => {
      byId("step").textContent = `in steps of ${format.span(answer.step)}`;
      panels.showTrends(answer);
      await charts.show(answer);
    },
  },
  filters: { of: "filters", filtered: false, show: (answer) => { filters.show(answer); welcome(answer); } },
  breakdown: { of: "breakdown", more: () => ({ by, limit: 12 }), show: panels.showBreakdown },
  picture: { of: "picture", show: (answer) => { panels.showBitrates(answer); panels.showResolutions(answer); } },
  slowest: {
    of: "breakdown", more: () => ({ by: "video_id", order: "startup_p95", limit: 8, least_views: leastViews() }),
    show: (answer) => panels.showVideos("slowest", answer, panels.SLOWEST, "No start-up times in this time range."),
  },
  failing: {
    of: "breakdown", more: () => ({ by: "video_id", order: "errors", limit: 8, least_views: leastViews() }),
    show: (answer) => panels.showVideos("failing", answer, panels.FAILING, "No errors in this time range."),
  },
  errors: {
    of: "errors",
    show: (answer) => panels.showErrors(answer, (code) => tail.follow({ event_type: "error", contains: code }),
      (code) => views.follow({ error_code: code })),
  },
  views: { of: "views", more: views.wanted, show: views.show },
  delivery: { of: "delivery", filtered: false, show: panels.showDelivery },
  cardinality: { of: "cardinality", filtered: false, show: panels.showCardinality },
};

/** Videos with fewer views are not ranked: a thousandth of all. */
let started = 0;
const leastViews = () => Math.max(1, Math.floor(started / 1000));

async function put(name, signal) {
  const { of, more, show, filtered = true } = QUESTIONS[name];
  const common = filtered ? Object.fromEntries(state.query()) : state.range();
  try {
    const answer = await ask(of, { ...common, ...(more?.() ?? {}) }, signal);
    if (signal.aborted) return;
    if (name === "overview") started = answer.current.views_started;
    await show(answer);
    report(name, null);
  } catch (error) {
    if (error.name === "AbortError") return;
    report(name, error);
  }
}

async function load() {
  clearTimeout(timer);
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  document.body.setAttribute("aria-busy", "true");
  const begun = performance.now();
  await put("overview", signal);
  charts.prepare();
  await Promise.all(Object.keys(QUESTIONS).filter((name) => name !== "overview").map((name) => put(name, signal)));
  if (signal.aborted) return;
  document.body.removeAttribute("aria-busy");
  if (!isAway()) updatedAt = Date.now();
  pulse();
  // A worker that answers slowly is busy: ask less often.
  schedule(Math.max(EVERY[state.last], 5 * workerTime(begun)));
}

function schedule(wait) {
  clearTimeout(timer);
  if (byId("refresh").checked && !document.hidden && !state.zoom) timer = setTimeout(load, wait);
}

/** Show a failure in its panel, and keep the previous content. */
function report(name, error) {
  const isDenied = error instanceof DeniedError;
  if (error && !isDenied) failures.set(name, error);
  else failures.delete(name);
  for (const place of document.querySelectorAll(`[data-panel="${name}"]`)) {
    place.parentElement.querySelector(`:scope > .failure[data-of="${name}"]`)?.remove();
    place.classList.toggle("stale", Boolean(error) && !isDenied);
    // An unreachable worker is reported once, at the top.
    if (!error || error instanceof AwayError) continue;
    if (isDenied) {
      place.before(el("p", { class: "failure", "data-of": name }, error.message));
      continue;
    }
    const again = el("button", { type: "button", onclick: () => load() }, "Try again");
    place.before(el("p", { class: "failure", role: "alert", "data-of": name }, format.visible(error.message), " ", again));
  }
  pulse();
}

const isAway = () => [...failures.values()].some((error) => error instanceof AwayError);

function pulse() {
  const place = byId("pulse");
  const away = isAway();
  const isLive = byId("refresh").checked && !state.zoom;
  place.dataset.state = away ? "away" : failures.size ? "partly" : isLive ? "live" : "still";
  const age = updatedAt === null ? "" : ago(Date.now() - updatedAt);
  const words = away ? "Worker not reachable" : failures.size ? "Some numbers are missing" : isLive ? "Live" : "Updated";
  const text = age ? `${words} · ${age}` : updatedAt === null && !away ? "Loading" : words;
  if (byId("pulse-text").textContent !== text) byId("pulse-text").textContent = text;
}

const ago = (ms) => (ms < 5_000 ? "now" : ms < 60_000 ? `${Math.floor(ms / 5_000) * 5} s ago` : `${Math.floor(ms / 60_000)} min ago`);

/** Without any data: how to send some. */
async function welcome({ filters: offered }) {
  let isEmpty = offered.org_id.length === 0;
  if (isEmpty) {
    try {
      isEmpty = (await ask("tail", { limit: 1 }, asked.signal)).latest === 0;
    } catch {
      isEmpty = false;
    }
  }
  byId("welcome").hidden = !isEmpty;
  document.body.classList.toggle("has-nothing", isEmpty);
}

function controls() {
  const range = byId("range");
  const render = () => {
    for (const input of range.querySelectorAll("input")) input.checked = !state.zoom && input.value === state.last;
    const zoomed = byId("zoomed");
    zoomed.hidden = !state.zoom;
    if (state.zoom) zoomed.textContent = `${format.moment(state.zoom.from)} – ${format.moment(state.zoom.to)} ✕`;
    zoomed.title = "Back to the latest data";
    by = panels.BREAKDOWNS.includes(by) ? by : panels.BREAKDOWNS[0];
  };
  range.addEventListener("change", ({ target }) => state.set({ last: target.value, zoom: null }));
  byId("zoomed").addEventListener("click", () => state.set({ zoom: null }));
  state.addEventListener("change", () => { render(); load(); });
  render();

  byId("refresh").addEventListener("change", ({ target }) => {
    pulse();
    if (target.checked) load();
    else clearTimeout(timer);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (byId("refresh").checked && !state.zoom) load();
  });

}

function theme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    root.dataset.theme = isDark ? "light" : "dark";
    try {
      localStorage.setItem("openqoe-theme", root.dataset.theme);
    } catch {
      // The choice lasts until the page is closed.
    }
    charts.repaint();
  });
  dark.addEventListener("change", charts.repaint);
}

function tabs() {
  const list = byId("tabs");
  const choose = (name, isFocused) => {
    by = name;
    for (const tab of list.children) {
      const isOn = tab.dataset.by === by;
      tab.setAttribute("aria-selected", String(isOn));
      tab.tabIndex = isOn ? 0 : -1;
      if (isOn && isFocused) tab.focus();
    }
  };
  for (const name of panels.BREAKDOWNS) {
    list.append(el("button", {
      type: "button", role: "tab", "data-by": name, "aria-controls": "breakdown",
      onclick: () => { choose(name, true); put("breakdown", asked.signal); },
    }, NAMES[name]));
  }
  list.addEventListener("keydown", ({ key }) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!move) return;
    const names = panels.BREAKDOWNS;
    choose(names[(names.indexOf(by) + move + names.length) % names.length], true);
    put("breakdown", asked.signal);
  });
  choose(by, false);
}

const here = new URL(".", window.location.href).href.replace(/\/$/, "");
byId("welcome-url").textContent = `POST ${here}/v1/events`;
byId("welcome-simulate").textContent = `openqoe simulate --viewers 50 --url ${here}`;
byId("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
byId("sign-out").hidden = !document.body.dataset.keys;

if (viewPage.isWanted()) {
  theme();
  viewPage.build();
} else {
  panels.buildTiles();
  charts.build();
  filters.build();
  controls();
  theme();
  tabs();
  views.build((error) => report("views", error));
  tail.build((error) => report("tail", error));
  setInterval(pulse, 5_000);
  load();
}
