// The page of one view: what happened in it, its numbers, its time axis, its events.

import { ask } from "./api.js";
import { byId, el, empty, shape } from "./dom.js";
import * as format from "./format.js";
import { TONES, glance, text } from "./tail.js";
import { list, ms, outcomeTag } from "./views.js";

const { NONE, visible } = format;

const EVERY = 3_000;
const IDENTITY = ["org_id", "view_id", "video_id", "player"];

const query = new URLSearchParams(window.location.search);
const identity = Object.fromEntries(IDENTITY.map((name) => [name, query.get(name) ?? ""]));

let timer = null;
let shownEvents = 0;

/** Whether the address is that of a view's page. */
export const isWanted = () => query.get("page") === "view" && Boolean(query.get("view_id"));

export function build() {
  document.body.classList.add("has-view");
  for (const id of ["main", "filters", "range"]) byId(id).hidden = true;
  byId("view-page").hidden = false;
  document.querySelector(".skip").href = "#view-page";
  byId("view-page").append(
    el("p", {}, el("a", { href: window.location.pathname }, "← All views")),
    el("div", { id: "view-head" }), el("div", { id: "view-body" }));
  byId("refresh").addEventListener("change", () => (byId("refresh").checked ? load() : clearTimeout(timer)));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && timer !== null) load();
  });
  load();
}

async function load() {
  clearTimeout(timer);
  timer = null;
  try {
    const answer = await ask("view", Object.fromEntries(Object.entries(identity).filter(([, value]) => value)));
    pulse("live", answer.view?.outcome ? "Ended" : "Live");
    if (answer.view === null) {
      byId("view-head").replaceChildren(empty("No view with this id is stored. It may be older than the retention."));
    } else {
      show(answer);
      if (answer.view.outcome === null && byId("refresh").checked) {
        timer = setTimeout(() => (document.hidden ? null : load()), EVERY);
      }
    }
  } catch (error) {
    pulse("away", "Failed");
    byId("view-head").replaceChildren(el("p", { class: "failure", role: "alert" }, visible(error.message)));
  }
}

function pulse(name, words) {
  byId("pulse").dataset.state = name;
  byId("pulse-text").textContent = words;
}

function show(answer) {
  const { view } = answer;
  const title = view.title || view.video_id || "View without video";
  document.title = `${visible(title)} · OpenQoE`;
  byId("view-head").replaceChildren(head(answer, title));
  if (!byId("view-numbers")) {
    byId("view-body").append(
      el("div", { class: "numbers panel", id: "view-numbers" }),
      el("section", { class: "panel lanes", id: "view-lanes", "aria-labelledby": "lanes-title" }),
      el("section", { "aria-labelledby": "events-title" },
        el("h2", { id: "events-title" }, "Events ", el("small", { id: "events-note" })),
        el("article", { class: "panel" }, el("ol", { class: "tail", id: "view-events" }))),
      el("div", { id: "view-related" }));
  }
  byId("view-numbers").replaceChildren(...numbers(answer));
  byId("view-lanes").replaceChildren(...lanes(answer));
  events(answer);
  byId("view-related").replaceChildren(...related(answer));
}

const named = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, visible(value || NONE)));

function head({ view, sentence }, title) {
  return el("article", { class: "panel" },
    el("h2", { class: "flat" }, visible(title), " ", outcomeTag(view.outcome)),
    el("p", { class: "sentence" }, visible(sentence)),
    el("dl", { class: "facts" },
      named("Began", `${format.moment(view.began_at)}:${String(new Date(view.began_at).getSeconds()).padStart(2, "0")}`),
      named("Viewer", view.viewer_id), named("Session", view.session_id), named("View", view.view_id),
      named("Org", view.org_id), named("Player", view.player),
      named("App", [view.app_name, view.app_version].filter(Boolean).join(" ")),
      named("Device", [view.device_category, view.os_family, view.browser_family].filter(Boolean).join(" · ")),
      named("Country", view.network_country),
      named("Error", [view.error_family, view.error_code].filter(Boolean).join(" "))));
}

const NUMBERS = [
  ["Start-up", "startup_ms", ms], ["Watched", "watch_ms", ms], ["Stalls", "rebuffers", format.count],
  ["Stalled", "rebuffer_ms", ms], ["Bit rate", "bitrate_avg", format.bits], ["Paused", "paused_ms", ms],
  ["Seeks", "seeks", format.count], ["Switches", null, null], ["Frames dropped", "frames_dropped", format.count],
  ["Errors", "errors", format.count], ["Score", "score", format.count],
];

function numbers({ view, medians }) {
  const rows = NUMBERS.map(([name, column, shown]) => {
    const value = column ? shown(view[column]) : `${view.upshifts} up, ${view.downshifts} down`;
    const median = column && column in medians ? shown(medians[column]) : null;
    return el("div", {},
      el("dt", {}, name), el("dd", { class: "figure" }, value),
      el("dd", { class: "muted small" }, median === null ? "" : `median ${median}`));
  });
  return [
    el("dl", {}, ...rows),
    el("p", { class: "muted small" }, `Medians of ${format.plural(medians.views, "ended view", "ended views")} of this video.`),
  ];
}

// --- the time axis -------------------------------------------------------------------------------

const MARKS = { error: "✕", seek: "»", switch: "↕", hidden: "◐", visible: "○" };

function lanes({ course }) {
  const title = el("h3", { id: "lanes-title" }, "Time axis");
  if (course === null) return [title, empty("No event of this view is stored any more.")];
  const { states, bitrates, buffers, moments } = course;
  const times = [...states.flatMap(({ since, until }) => [since, until]), ...moments.map(({ at }) => at)];
  if (!times.length) return [title, empty("All events of this view have the same time.")];
  const begin = Math.min(...times);
  const length = Math.max(...times) - begin || 1;
  const x = (at) => ((Math.min(Math.max(at, begin), begin + length) - begin) * 100) / length;
  const totals = {};
  const bars = states.map(({ state, since, until }) => {
    totals[state] = (totals[state] ?? 0) + until - since;
    const part = el("span", { class: `period s-${state}`, title: `${state} ${ms(until - since)}` });
    part.style.left = `${x(since)}%`;
    part.style.width = `${x(until) - x(since)}%`;
    return part;
  });
  const described = Object.entries(totals).map(([state, total]) => `${state} ${ms(total)}`).join(", ");
  const legend = el("ul", { class: "legend" }, ...Object.keys(totals).map((state) =>
    el("li", {}, el("span", { class: `key s-${state}`, "aria-hidden": "true" }), `${state} ${ms(totals[state])}`)));
  const marks = moments.map(({ at, what, text: detail }) => {
    const mark = el("span", { class: `mark m-${what}`, title: visible(`${what} ${detail} at ${offset(at - begin)}`) }, MARKS[what] ?? "•");
    mark.style.left = `${x(at)}%`;
    return mark;
  });
  const counts = {};
  for (const { what } of moments) counts[what] = (counts[what] ?? 0) + 1;
  const counted = Object.entries(counts).map(([what, count]) => `${what} ${count}`).join(", ");
  const ticks = Array.from({ length: 5 }, (_, number) => el("span", {}, offset((length * number) / 4)));
  return [
    title,
    lane("State", described, el("div", { class: "lane-body" }, ...bars)),
    moments.length ? lane("Marks", counted, el("div", { class: "lane-body marks" }, ...marks)) : "",
    bitrates.length ? lane("Bit rate", range(bitrates, format.bits), steps(bitrates, x), `to ${format.bits(peak(bitrates))}`) : "",
    buffers.length ? lane("Buffer", range(buffers, format.seconds), line(buffers, x), `to ${format.seconds(peak(buffers))}`) : "",
    el("div", { class: "lane ticks", "aria-hidden": "true" }, el("span", {}), el("div", { class: "ticks-body" }, ...ticks)),
    legend,
  ];
}

function lane(name, description, body, note = null) {
  body.setAttribute("role", "img");
  body.setAttribute("aria-label", `${name}: ${description}`);
  return el("div", { class: "lane" }, el("span", { class: "lane-name" }, name, note && el("small", {}, note)), body);
}

function range(points, shown) {
  const values = points.map(({ value }) => value);
  return `${shown(Math.min(...values))} to ${shown(Math.max(...values))}`;
}

const peak = (points) => Math.max(...points.map(({ value }) => value));

function plot(path) {
  const svg = shape("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", class: "spark" });
  svg.append(shape("polyline", { class: "line", points: path }));
  return el("div", { class: "lane-body plotted" }, svg);
}

function heights(points) {
  const top = peak(points) || 1;
  return (value) => (38 - (36 * value) / top).toFixed(2);
}

function steps(points, x) {
  const y = heights(points);
  const path = points.map(({ at, value }, number) => {
    const until = number + 1 < points.length ? x(points[number + 1].at) : 100;
    return `${x(at).toFixed(3)},${y(value)} ${until.toFixed(3)},${y(value)}`;
  });
  return plot(path.join(" "));
}

function line(points, x) {
  const y = heights(points);
  const path = points.map(({ at, value }) => `${x(at).toFixed(3)},${y(value)}`).join(" ");
  return plot(path);
}

/** Time since the beginning: 1:02:03.4. */
function offset(time) {
  const tenths = Math.round(time / 100);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes, seconds] = [Math.floor(tenths / 36_000), Math.floor(tenths / 600) % 60, Math.floor(tenths / 10) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds)}.${tenths % 10}`;
}

// --- events --------------------------------------------------------------------------------------

function events({ view, events: all, events_left_out: leftOut }) {
  const api = `dashboard/api/view?${new URLSearchParams(IDENTITY.filter((name) => view[name]).map((name) => [name, view[name]]))}`;
  byId("events-note").replaceChildren(
    format.plural(all.length, "event", "events"), leftOut ? `, ${format.count(leftOut)} later ones are left out` : "", " · ",
    el("a", { href: api }, "JSON"));
  if (shownEvents === all.length && byId("view-events").children.length) return;
  const open = new Set([...byId("view-events").querySelectorAll("details[open]")].map(({ dataset }) => dataset.number));
  shownEvents = all.length;
  byId("view-events").replaceChildren(...all.map((event, number) => {
    const made = row(event, number, all[0].at, number ? all[number - 1].at : event.at);
    if (open.has(String(number))) made.firstChild.open = true;
    return made;
  }));
  if (!all.length) byId("view-events").append(el("li", {}, empty("No event of this view is stored any more.")));
}

function row({ at, type, line: json }, number, first, previous) {
  let event = null;
  try {
    event = JSON.parse(json);
  } catch {
    // Shown unchanged.
  }
  const details = el("details", { "data-number": number },
    el("summary", {},
      el("time", { datetime: new Date(at).toISOString(), title: format.clock(at) }, offset(at - first)),
      el("span", { class: `tag ${TONES.get(type) ?? ""}` }, visible(type)),
      el("span", { class: "video" }, number ? `+${ms(at - previous)}` : ""),
      el("span", { class: "glance" }, visible(glance(event))),
      el("span", { class: "who" }, visible(position(event)))));
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("pre")) return;
    let shown = json;
    try {
      if (event !== null) shown = JSON.stringify(event, null, 2);
    } catch {
      // Nested too deeply: shown unchanged.
    }
    details.append(el("pre", { tabindex: "0" }, visible(shown)));
  });
  return el("li", {}, details);
}

function position(event) {
  const value = Number(text(event?.playback_time ?? ""));
  return text(event?.playback_time ?? "") !== "" && Number.isFinite(value) ? `at ${offset(value)}` : "";
}

function related({ same_id: sameId, session, viewer }) {
  const known = new Set(sameId.concat(session).map(key));
  const sections = [
    ["Other videos of this page", sameId],
    ["Other views of this session", session.filter((one) => !sameId.some((other) => key(other) === key(one)))],
    ["Other views of this viewer", viewer.filter((one) => !known.has(key(one)))],
  ];
  return sections.filter(([, rows]) => rows.length).map(([title, rows]) =>
    el("section", {}, el("h2", {}, title), el("article", { class: "panel" }, list(rows, title))));
}

const key = (row) => JSON.stringify(IDENTITY.map((name) => row[name]));
