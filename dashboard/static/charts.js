// Charts over time, drawn by plotly.js. It is loaded with the first chart, so that the tiles do not
// wait for it. If it is not installed, a notice replaces the charts.

import { byId, el, empty } from "./dom.js";
import * as format from "./format.js";
import { state } from "./state.js";

const ADDRESS = document.body.dataset.charts;

let library = null;

function load() {
  library ??= new Promise((resolve, reject) => {
    const script = el("script", { src: ADDRESS });
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      library = null;
      reject(new Error("The charting library could not be loaded."));
    });
    // The library adds style elements, which the page's policy forbids; app.css has the styles of
    // these charts. The library adds no style element whose id exists already.
    document.head.append(
      el("link", { id: "plotly.js-style-global", class: "no-inline-styles" }),
      ...document.body.dataset.unwanted.split(" ").filter(Boolean).map((id) => el("meta", { id })),
      script,
    );
  });
  return library;
}

/** A colour of the style sheet, in the form that the library accepts. */
function color(name) {
  const probe = el("span", { class: `c-${name}`, hidden: true });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Escape text: the library interprets some markup. */
const literal = (text) =>
  format.visible(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// A family of errors always has the same colour.
const FAMILIES = { network: "red", decoder: "amber", source: "violet", business: "teal" };
const OTHERS = ["blue", "green", "teal", "violet"];

// Each chart: its title, and the traces that it draws from an answer.
const CHARTS = [
  {
    id: "concurrent", title: "Concurrent views", note: "highest in each step", unit: format.count,
    traces: ({ series }) => [
      { name: "Concurrent views", y: series.concurrent_views, color: "blue", area: true, stairs: true },
    ],
  },
  {
    id: "views", title: "Views", note: "in each step", unit: format.count,
    traces: ({ series }) => [
      { name: "Started", y: series.views_started, color: "blue", area: true, counts: true },
      { name: "Completed", y: series.views_completed, color: "teal", area: true, counts: true },
    ],
  },
  {
    id: "startup", title: "Start-up time", note: "percentiles", unit: format.seconds, suffix: " s",
    traces: ({ series }) => [
      { name: "p50", y: series.startup_p50, color: "blue" },
      { name: "p95", y: series.startup_p95, color: "violet" },
      { name: "p99", y: series.startup_p99, color: "amber" },
    ],
  },
  {
    id: "rebuffering", title: "Rebuffer percentage", note: "of the time watched", unit: format.percent,
    suffix: " %", scale: 100,
    traces: ({ series }) => [
      { name: "Rebuffering", y: series.rebuffering_ratio, color: "amber", area: true },
    ],
  },
  {
    id: "outcomes", title: "Exits and failures", note: "of the views that ended", unit: format.percent,
    suffix: " %", scale: 100,
    traces: ({ series }) => [
      { name: "Exits before start", y: series.exit_before_start_ratio, color: "amber" },
      { name: "Start failures", y: series.start_failure_ratio, color: "violet" },
      { name: "Playback failures", y: series.playback_failure_ratio, color: "red" },
    ],
    none: "No exits or failures in this time range.",
  },
  {
    id: "errors", title: "Errors", note: "by family, in each step", unit: format.count,
    traces: ({ errors }) =>
      Object.entries(errors).slice(0, 12).map(([family, y], index) => ({
        name: family || "unknown", y, color: FAMILIES[family] ?? OTHERS[index % OTHERS.length], bars: true, stack: true, counts: true,
      })),
    none: "No errors in this time range.",
  },
  {
    id: "bitrate", title: "Bit rate", note: "percentiles, reported during playback", unit: format.bits,
    suffix: "bit/s", si: true,
    traces: ({ series }) => [
      { name: "p90", y: series.bitrate_p90, color: "green" },
      { name: "p50", y: series.bitrate_p50, color: "blue" },
      { name: "p10", y: series.bitrate_p10, color: "amber" },
    ],
  },
];

let latest = null;

/** The element of a chart. Panels have the plain names: "views" is a chart and a list. */
const chartId = (id) => `chart-${id}`;

export function build() {
  byId("charts").append(
    ...CHARTS.map(({ id, title, note }) =>
      el("figure", { class: "panel chart" },
        el("figcaption", {}, el("h3", {}, title, " ", el("small", {}, note))),
        el("div", { class: "plot", id: chartId(id) }))),
  );
  byId("no-charts").hidden = Boolean(ADDRESS);
  const wide = new ResizeObserver(() => latest && window.Plotly && draw(window.Plotly, latest));
  wide.observe(byId("charts"));
}

/** Load the library while the first questions are answered. */
export function prepare() {
  if (ADDRESS) load().catch(() => {}); // the failure is shown in place of the charts
}

/** Draw an answer of `timeline`. */
export async function show(answer) {
  latest = answer;
  if (!ADDRESS) {
    for (const chart of CHARTS) summarise(chart, answer);
    return;
  }
  const plotly = await load();
  if (latest === answer) draw(plotly, answer);
}

/** Redraw with the colours of the current theme. */
export function repaint() {
  if (latest && window.Plotly) draw(window.Plotly, latest);
}

/** Without the library: the latest values as text. */
function summarise({ id, traces, unit }, answer) {
  const lines = finished(traces(answer), answer).map(({ name, y }) => {
    const value = y.findLast((one) => one !== null);
    return el("li", {}, `${format.visible(name)}: ${unit(value)}`);
  });
  byId(chartId(id)).replaceChildren(el("ul", { class: "summary" }, ...lines));
}

function draw(plotly, answer) {
  const times = answer.times.map((ms) => new Date(ms));
  const tone = { text: color("muted"), line: color("line"), surface: color("surface"), strong: color("text") };
  for (const chart of CHARTS) {
    const traces = finished(chart.traces(answer), answer);
    const place = byId(chartId(chart.id));
    const hasAny = traces.some(({ y }) => y.some((value) => value));
    if (!hasAny) {
      if (place.data) plotly.purge(place);
      place.replaceChildren(empty(chart.none ?? "No data in this time range."));
      place.setAttribute("aria-label", `${chart.title}: no data in this time range`);
      continue;
    }
    if (!place.data) place.replaceChildren();
    plotly.react(
      place, traces.map((one) => trace(one, chart, times)), layout(chart, traces, answer, tone),
      { displayModeBar: false, doubleClick: false, showTips: false, responsive: false },
    );
    listen(place);
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", label(chart, traces));
  }
}

/** Leaves out the counts of an unfinished step, which would look like a drop. */
const finished = (traces, { running }) =>
  traces.map((one) => (one.counts && running ? { ...one, y: [...one.y.slice(0, -1), null] } : one));

function label({ title, unit }, traces) {
  const parts = traces.map(({ name, y }) => {
    const known = y.filter((value) => value !== null);
    return `${name}: latest ${unit(known.at(-1))}, highest ${unit(Math.max(...known))}`;
  });
  return format.visible(`${title}. ${parts.join("; ")}`);
}

function trace(one, { unit, scale = 1 }, times) {
  const paint = color(one.color);
  const common = {
    name: literal(one.name), x: times, y: one.y.map((value) => value === null ? null : value * scale),
    text: one.y.map((value) => literal(unit(value))), hovertemplate: "%{text}",
  };
  if (one.bars) return { ...common, type: "bar", marker: { color: paint }, textposition: "none" };
  return {
    ...common, type: "scatter", mode: one.y.filter((value) => value !== null).length < 3 ? "lines+markers" : "lines",
    line: { color: paint, width: 2, shape: one.stairs ? "hv" : "linear" }, connectgaps: false,
    ...(one.area ? { fill: "tozeroy", fillcolor: paint.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)") } : {}),
  };
}

/** Start of the axis: shortly before the first data, but at least 20 steps before the end. */
export const beginning = ({ from, to, step, known_since: first }) =>
  first === null ? from : Math.max(from, Math.min(first - step, to - 20 * step));

function layout({ suffix = "", si = false }, traces, answer, tone) {
  const { to, step } = answer;
  const from = beginning(answer);
  const isTouch = window.matchMedia("(pointer: coarse)").matches;
  return {
    autosize: true, height: 220, margin: { l: 8, r: 8, t: traces.length > 1 ? 28 : 8, b: 24 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: tone.text },
    barmode: traces.some(({ stack }) => stack) ? "stack" : "overlay", bargap: 0.25,
    hovermode: "x unified",
    hoverlabel: { bgcolor: tone.surface, bordercolor: tone.line, font: { color: tone.strong, size: 12 } },
    showlegend: traces.length > 1,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: "toggle", font: { size: 12 } },
    dragmode: isTouch ? false : "zoom",
    xaxis: {
      type: "date", range: [new Date(from), new Date(to + step / 2)], showgrid: false, zeroline: false,
      linecolor: tone.line, tickcolor: tone.line, ticks: "outside", ticklen: 4, nticks: 6,
      hoverformat: to - from > 86_400_000 ? "%b %-d %H:%M" : "%H:%M:%S",
      tickformatstops: [
        { dtickrange: [null, 60_000], value: "%H:%M:%S" },
        { dtickrange: [60_000, 86_400_000], value: "%H:%M" },
        { dtickrange: [86_400_000, null], value: "%b %-d" },
      ],
    },
    yaxis: {
      rangemode: "tozero", fixedrange: true, gridcolor: tone.line, zeroline: false, nticks: 5,
      automargin: true, ticksuffix: suffix, exponentformat: si ? "SI" : "none", ticklen: 4,
      separatethousands: !si,
    },
  };
}

/** A range drawn with the mouse becomes the time range. */
function listen(place) {
  if (place.dataset.listens) return;
  place.dataset.listens = "yes";
  place.on("plotly_relayout", (change) => {
    const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]].map((at) => Date.parse(at));
    if (to - from >= 10_000) state.set({ zoom: { from: Math.round(from), to: Math.round(to) } });
  });
}
