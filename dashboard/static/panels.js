// Tiles, bars and tables: each function shows one answer in one place.

import { beginning } from "./charts.js";
import { bar, byId, el, empty, sparkline, table } from "./dom.js";
import * as format from "./format.js";
import { NAMES, state } from "./state.js";
import { follow as followViews } from "./views.js";

const { NONE, visible } = format;

// --- tiles ---------------------------------------------------------------------------------------

const hundred = (value) => (value === null ? null : value * 100);

// `better`: whether a higher value is better (1), worse (-1) or neither (0).
const TILES = [
  {
    id: "concurrent", title: "Concurrent views", spark: "concurrent_views",
    value: ({ concurrent_views: views }) => [format.count(views.now), ""],
    note: ({ concurrent_views: views }) => `peak ${format.count(views.peak)}`,
  },
  {
    id: "started", title: "Views started", spark: "views_started", better: 0,
    value: ({ current }) => [format.count(current.views_started), ""],
    note: ({ current }) => `${format.seconds(current.playing_seconds)} of media played`,
    measure: (one) => one.views_started,
  },
  {
    id: "watched", title: "Watch time", spark: "watch_seconds", better: 0,
    value: ({ current }) => format.secondsParts(current.watch_seconds),
    note: ({ current }) =>
      current.views_started ? `${format.seconds(current.watch_seconds / current.views_started)} a view` : "",
    measure: (one) => one.watch_seconds,
  },
  {
    id: "completed", title: "Views completed", spark: "views_completed", better: 0,
    value: ({ current }) => [format.count(current.views_completed), ""],
    note: ({ current }) =>
      current.views_started ? `${format.percent(current.views_completed / current.views_started)} of started` : "",
    measure: (one) => one.views_completed,
  },
  {
    id: "startup", title: "Start-up time", spark: "startup_p50", better: -1, hint: "p50",
    value: ({ current }) => format.secondsParts(current.startup_seconds.p50),
    note: ({ current: { startup_seconds: startup } }) =>
      `p95 ${format.seconds(startup.p95)} · p99 ${format.seconds(startup.p99)}`,
    measure: (one) => one.startup_seconds.p50,
  },
  {
    id: "exits", title: "Exits before start", spark: "exit_before_start_ratio", better: -1,
    value: ({ current }) => [format.percentNumber(current.exit_before_start_ratio), "%"],
    note: ({ current }) => `${format.plural(current.outcomes.exit_before_start ?? 0, "attempt", "attempts")} without a frame`,
    measure: (one) => one.exit_before_start_ratio,
  },
  {
    id: "start-failures", title: "Start failures", spark: "start_failure_ratio", better: -1,
    value: ({ current }) => [format.percentNumber(current.start_failure_ratio), "%"],
    note: ({ current }) => `${format.plural(current.outcomes.start_failure ?? 0, "attempt", "attempts")} failed`,
    measure: (one) => one.start_failure_ratio,
  },
  {
    id: "playback-failures", title: "Playback failures", spark: "playback_failure_ratio", better: -1,
    value: ({ current }) => [format.percentNumber(current.playback_failure_ratio), "%"],
    note: ({ current }) => `${format.plural(current.outcomes.playback_failure ?? 0, "view", "views")} failed`,
    measure: (one) => one.playback_failure_ratio,
  },
  {
    id: "ratio", title: "Rebuffer percentage", spark: "rebuffering_ratio", better: -1,
    value: ({ current }) => [format.percentNumber(current.rebuffering_ratio), "%"],
    note: ({ current }) => `${format.seconds(current.rebuffer_seconds)} of the time watched`,
    measure: (one) => one.rebuffering_ratio,
  },
  {
    id: "frequency", title: "Rebuffer frequency", spark: "rebuffers_per_hour", better: -1,
    value: ({ current }) => [format.decimal(current.rebuffers_per_hour), "/ h"],
    note: ({ current }) => `${format.plural(current.rebuffer_events, "stall", "stalls")} while playing`,
    measure: (one) => one.rebuffers_per_hour,
  },
  {
    id: "errors", title: "Error rate", spark: "errors", better: -1,
    value: ({ current }) => [format.decimal(hundred(current.errors_per_view)), "/ 100 views"],
    note: ({ current }) => format.plural(current.errors, "error", "errors"),
    measure: (one) => one.errors_per_view,
  },
  {
    id: "score", title: "View score", spark: "score", better: 1,
    value: ({ current }) => [format.decimal(current.score), "/ 100"],
    note: ({ current }) => {
      const ended = Object.values(current.outcomes).reduce((sum, one) => sum + one, 0);
      return `${format.plural(ended, "view", "views")} ended`;
    },
    measure: (one) => one.score,
  },
];

export function buildTiles() {
  byId("tiles").append(
    ...TILES.map(({ id, title, hint }) =>
      el("article", { class: "panel tile", id: `tile-${id}` },
        el("h3", {}, title, hint ? el("small", {}, ` ${hint}`) : null),
        el("p", { class: "value" },
          el("output", { class: "number" }, NONE), " ", el("span", { class: "unit" })),
        el("p", { class: "note" }, el("span", { class: "said" }), " ", el("span", { class: "delta" })),
        el("div", { class: "trend" }))),
  );
}

export function showTiles(answer) {
  for (const tile of TILES) {
    const place = byId(`tile-${tile.id}`);
    const [number, unit] = tile.value(answer);
    place.querySelector(".number").textContent = number;
    place.querySelector(".unit").textContent = number === NONE ? "" : unit;
    place.querySelector(".said").textContent = tile.note(answer);
    const delta = place.querySelector(".delta");
    delta.replaceWith(change(tile, answer));
  }
}

/** The difference from the previous time range of equal length. */
function change({ measure, better }, { current, previous, from, to }) {
  const none = el("span", { class: "delta" });
  if (!measure || !previous) return none;
  const [now, before] = [measure(current), measure(previous)];
  if (now === null || !before) return none;
  const share = now / before - 1;
  if (Math.abs(share) < 0.005) return none;
  const tone = better === 0 ? "" : Math.sign(share) === better ? "good" : "bad";
  const size = Math.abs(share) >= 9.995 ? "> ×10" : `${Math.abs(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
  const title = `against the ${format.span(to - from)} before`;
  return el("span", { class: `delta ${tone}`, title }, `${share > 0 ? "▲" : "▼"} ${size}`);
}

export function showTrends(answer) {
  const { series, errors, times, running } = answer;
  const first = Math.max(0, times.findIndex((time) => time >= beginning(answer)));
  const summed = times.map((_, at) => Object.values(errors).reduce((sum, one) => sum + one[at], 0));
  for (const { id, spark } of TILES) {
    let values = spark === "errors" ? summed : series[spark];
    // The counts of an unfinished step would look like a drop.
    if (running && ["started", "watched", "completed", "errors"].includes(id)) values = values.slice(0, -1);
    byId(`tile-${id}`).querySelector(".trend").replaceChildren(values ? sparkline(values.slice(first)) : "");
  }
}

// --- completion and picture ----------------------------------------------------------------------

const STAGES = { started: "Started", completed: "Completed" };

export function showFunnel({ funnel }) {
  const first = funnel[0].views;
  const most = Math.max(...funnel.map((stage) => stage.views));
  if (!most) return fill("funnel", empty("No views in this time range."));
  return fill("funnel", el("ol", { class: "funnel" }, ...funnel.map(({ stage, views }) =>
    el("li", {},
      el("span", { class: "name" }, STAGES[stage] ?? `${stage} %`),
      bar(views / most),
      el("span", { class: "figure" }, format.count(views)),
      el("span", { class: "share" }, first ? format.percent(views / first) : NONE)))));
}

const rate = (bps) => (bps >= 1e6 ? `${bps / 1e6}` : `${bps / 1e6}`.replace(/^0/, "0"));

export function showBitrates({ bitrate }) {
  const parts = bitrate.map(({ from, to, observations }) => ({
    name: to === null ? `over ${rate(from)} Mbit/s` : from ? `${rate(from)} – ${rate(to)} Mbit/s` : `up to ${rate(to)} Mbit/s`,
    amount: observations,
    tone: to === null ? 7 : Math.min(7, bitrate.findIndex((one) => one.to === to)),
  }));
  mix("bitrate", parts, "No player reported a bit rate in this time range.");
}

const HEIGHTS = ["240p", "360p", "480p", "720p", "1080p", "1440p", "4k", "8k"];

export function showResolutions({ resolution }) {
  const parts = resolution
    .map(({ resolution: name, seconds }) => {
      const place = HEIGHTS.indexOf(name);
      return { name: visible(name), amount: seconds, tone: place < 0 ? "other" : place };
    })
    .sort((a, b) => (a.tone === "other") - (b.tone === "other") || a.tone - b.tone);
  mix("resolution", parts, "No player reported a resolution in this time range.");
}

function mix(id, parts, none) {
  const total = parts.reduce((sum, { amount }) => sum + amount, 0);
  if (!total) return fill(id, empty(none));
  const shown = parts.filter(({ amount }) => amount > 0);
  const stack = el("div", { class: "stack", "aria-hidden": "true" });
  const list = el("ul", { class: "mix" });
  for (const { name, amount, tone: step } of shown) {
    const tone = `step-${step}`;
    const part = el("span", { class: tone });
    part.style.flexGrow = String(amount);
    stack.append(part);
    list.append(el("li", {},
      el("span", { class: `key ${tone}`, "aria-hidden": "true" }),
      el("span", { class: "name" }, name),
      el("span", { class: "share" }, format.percent(amount / total))));
  }
  return fill(id, stack, list);
}

// --- tables --------------------------------------------------------------------------------------

/** A value that sets a filter when it is clicked. */
function choice(name, value, text = value) {
  if (value === null) return el("span", { class: "muted" }, "unknown");
  const isOn = state.filters[name] === value;
  return el("button", {
    type: "button", class: "link", "aria-pressed": String(isOn),
    title: visible(isOn ? "Remove this filter" : `Show only ${text}`),
    onclick: () => state.set({ filters: { [name]: isOn ? "" : value } }),
  }, visible(text));
}

export const BREAKDOWNS = ["device_category", "browser_family", "os_family", "network_country", "player_name", "app_version"];

const regions = new Intl.DisplayNames("en", { type: "region" });

function named(by, value) {
  if (by !== "network_country" || !/^[A-Z]{2}$/.test(value ?? "")) return value;
  return `${regions.of(value)} (${value})`;
}

export function showBreakdown(answer) {
  const { by, rows, values } = answer;
  if (!rows.length) return fill("breakdown", empty("No views in this time range."));
  const most = Math.max(...rows.map((row) => row.views_started), 1);
  const columns = [
    { title: NAMES[by], className: "name", value: (row) => choice(by, row.value, named(by, row.value)) },
    { title: "Views", className: "number", value: (row) => format.count(row.views_started) },
    { title: "", className: "bars wide", value: (row) => bar(row.views_started / most) },
    { title: "Completed", className: "number wide", value: (row) => (row.views_started ? format.percent(row.views_completed / row.views_started) : NONE) },
    { title: "Start-up p50", className: "number wide", value: (row) => format.seconds(row.startup_seconds.p50) },
    { title: "p95", className: "number", value: (row) => format.seconds(row.startup_seconds.p95) },
    { title: "Rebuffering", className: "number", value: (row) => format.percent(row.rebuffering_ratio) },
    { title: "Stalls / h", className: "number wide", value: (row) => format.decimal(row.rebuffers_per_hour) },
    { title: "Exits", className: "number wide", value: (row) => format.percent(row.exit_before_start_ratio) },
    { title: "Start failures", className: "number wide", value: (row) => format.percent(row.start_failure_ratio) },
    { title: "Playback failures", className: "number wide", value: (row) => format.percent(row.playback_failure_ratio) },
    { title: "Errors/100", className: "number", value: (row) => format.decimal(hundred(row.errors_per_view)) },
    { title: "Score", className: "number wide", value: (row) => format.decimal(row.score) },
    { title: "", className: "number", value: (row) => viewsOf(by, row.value) },
  ];
  const more = values > rows.length ? el("p", { class: "muted small" }, `The ${rows.length} with the most views of ${format.count(values)}.`) : null;
  return fill("breakdown", table(`Views by ${NAMES[by]}`, columns, rows), more);
}

export function showVideos(id, { rows }, columns, none) {
  if (!rows.length) return fill(id, empty(none));
  const title = {
    title: "Video", className: "name",
    value: (row) => choice("video_id", row.value, row.title ?? row.value ?? undefined),
  };
  const views = { title: "Views", className: "number", value: (row) => format.count(row.views_started) };
  const list = { title: "", className: "number", value: (row) => viewsOf("video_id", row.value) };
  return fill(id, table("Videos", [title, views, ...columns, list], rows));
}

/** A button that lists the views behind a row. */
function viewsButton(text, onclick) {
  return el("button", { type: "button", class: "link", "aria-label": visible(`Views with ${text}`), onclick }, "Views");
}

function viewsOf(name, value) {
  if (value === null) return "";
  return viewsButton(value, () => {
    state.set({ filters: { [name]: value } });
    followViews({});
  });
}

export const SLOWEST = [
  { title: "p50", className: "number", value: (row) => format.seconds(row.startup_seconds.p50) },
  { title: "p95", className: "number", value: (row) => format.seconds(row.startup_seconds.p95) },
];

export const FAILING = [
  { title: "Errors", className: "number", value: (row) => format.count(row.errors) },
  { title: "/ 100", className: "number", value: (row) => format.decimal(hundred(row.errors_per_view)) },
];

export function showErrors({ total, errors }, onchoose, onviews) {
  if (!errors.length) return fill("errors", empty("No errors in this time range."));
  const shown = errors.slice(0, 10);
  const columns = [
    { title: "Code", className: "name", value: ({ code }) => el("button", {
      type: "button", class: "link", title: "Show events with this code below",
      onclick: () => onchoose(code ?? ""),
    }, visible(code ?? "none")) },
    { title: "Family", className: "family", value: ({ family }) => el("span", { class: "tag" }, visible(family ?? "none")) },
    { title: "Errors", className: "number", value: (row) => format.count(row.errors) },
    { title: "", className: "number", value: (row) => format.percent(row.errors / total) },
    { title: "", className: "number", value: ({ code }) => viewsButton(code ?? "none", () => onviews(code ?? "")) },
  ];
  const more = errors.length > shown.length ? el("p", { class: "muted small" }, `and ${errors.length - shown.length} more codes`) : null;
  return fill("errors", table("Errors by family and code", columns, shown), more);
}

// --- the worker ----------------------------------------------------------------------------------

const sum = (counts) => Object.values(counts).reduce((total, one) => total + one, 0);

/** The state of a destination as a word and a tone. */
function verdict({ queue_age_seconds: age, queue_behind: behind, dropped, requests }) {
  if (sum(dropped) > 0) return ["losing", "bad"];
  if (behind || age >= 60) return ["behind", "bad"];
  if (age >= 30 || (requests.retried ?? 0) > 0) return ["retrying", "warn"];
  return ["delivering", "good"];
}

export function showDelivery({ destinations, workers, intake, version }) {
  byId("version").textContent = version;
  if (!destinations.length) return fill("delivery", empty("No worker has reported in this time range."));
  const cards = destinations.map((one) => {
    const [word, tone] = verdict(one);
    const facts = [
      ["Delivered", format.count(one.items_delivered)],
      ["Requests", format.count(one.requests.delivered ?? 0)],
      ["Retried", format.count(one.requests.retried ?? 0)],
      ["Waiting", `${format.count(one.queue_length)} · ${format.bytes(one.queue_bytes)}`],
      ["Oldest", one.queue_length ? format.seconds(one.queue_age_seconds) : NONE],
      ["Rejected", format.count(one.items_rejected)],
      ["Dropped", sum(one.dropped) ? Object.entries(one.dropped).filter(([, n]) => n).map(([why, n]) => `${format.count(n)} ${why}`).join(", ") : "0"],
      ["Sent", format.bytes(one.bytes)],
    ];
    return el("section", { class: "destination" },
      el("h4", {}, visible(one.destination), " ", el("span", { class: `state ${tone}` }, word)),
      el("dl", {}, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
  });
  const state_ = (ok) => (ok === null ? NONE : el("span", { class: `state ${ok ? "good" : "bad"}` }, ok ? "ok" : "failing"));
  const columns = [
    { title: "Instance", className: "name", value: (one) => visible(one.instance) },
    { title: "Disk", className: "", value: (one) => state_(one.storage_ok) },
    { title: "Series", className: "number", value: (one) => format.count(one.series) },
    { title: "Views", className: "number", value: (one) => format.count(one.views) },
    { title: "Flush interval", className: "number", value: (one) => (one.flush_interval_seconds === null ? NONE : format.seconds(one.flush_interval_seconds)) },
  ];
  const reasons = Object.entries(intake.reasons).map(([why, n]) => `${format.count(n)} ${why}`).join(", ");
  const summary = el("p", { class: "intake" },
    el("strong", {}, format.plural(intake.events_accepted, "event", "events")), " accepted, ",
    `${format.count(intake.events_rejected)} refused${reasons ? ` (${visible(reasons)})` : ""}, `,
    format.plural(intake.batches_duplicate, "duplicate batch", "duplicate batches"));
  return fill("delivery", summary, ...cards, workers.length ? table("Workers", columns, workers) : null);
}

export function showCardinality({ dimensions }) {
  const known = dimensions.filter(({ admitted }) => admitted !== null);
  if (!known.length) return fill("cardinality", empty("No worker has reported in this time range."));
  const share = ({ admitted, limit }) => (limit ? admitted / limit : 0);
  known.sort((a, b) => share(b) - share(a) || b.admitted - a.admitted);
  return fill("cardinality", el("ul", { class: "dimensions" }, ...known.map((one) => {
    const part = share(one);
    const tone = part >= 1 ? "bad" : part >= 0.8 ? "warn" : "";
    const folded = one.folded ? el("span", { class: "state warn", title: "values folded, because the dimension was full" }, `${format.count(one.folded)} folded`) : null;
    return el("li", {},
      el("span", { class: "name" }, one.dimension, " ", folded),
      bar(part, tone),
      el("span", { class: "figure" }, `${format.count(one.admitted)} / ${one.limit === null ? "∞" : format.count(one.limit)}`));
  })));
}

function fill(id, ...children) {
  byId(id).replaceChildren(...children.filter(Boolean));
}
