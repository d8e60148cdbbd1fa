// The live tail: received events, the latest first.

import { DeniedError, ask } from "./api.js";
import { byId, el, empty } from "./dom.js";
import * as format from "./format.js";
import { state } from "./state.js";

const EVERY = 2_000;
const KEPT = 150;

const { visible } = format;

let latest = 0;
let isPaused = false;
let timer = null;
let asked = new AbortController();

const form = () => byId("tail-form");

export function build(onerror) {
  byId("pause").addEventListener("click", () => pause(!isPaused));
  form().addEventListener("submit", (event) => event.preventDefault());
  let typing = null;
  form().addEventListener("input", () => {
    outdate();
    clearTimeout(typing);
    typing = setTimeout(() => restart(), 250);
  });
  state.addEventListener("change", () => restart());
  document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : next(0));
  failed = onerror;
  restart();
}

let failed = () => {};

function pause(wanted) {
  isPaused = wanted;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  byId("pause").textContent = isPaused ? "Resume" : "Pause";
  if (isPaused) {
    // Cancels the next question and the one that is running.
    clearTimeout(timer);
    asked.abort();
  } else next(0);
}

/** Filter the tail; called from other panels. */
export function follow(fields) {
  form().reset();
  for (const [name, value] of Object.entries(fields)) form().elements[name].value = value;
  restart();
  form().scrollIntoView({ block: "start" });
  form().elements.contains.focus({ preventScroll: true });
}

/** What is shown has other filters than the form. */
function outdate() {
  latest = 0;
  clearTimeout(timer);
  asked.abort();
  byId("tail").setAttribute("aria-busy", "true");
}

function restart() {
  outdate();
  if (isPaused) pause(false);
  else next(0);
}

function next(wait) {
  clearTimeout(timer);
  if (!isPaused && !document.hidden) timer = setTimeout(load, wait);
}

async function load() {
  asked.abort();
  asked = new AbortController();
  const fields = Object.fromEntries([...new FormData(form())].filter(([, value]) => value));
  const isFirst = latest === 0;
  try {
    const answer = await ask("tail", { ...state.filters, ...fields, after: latest, limit: KEPT }, asked.signal);
    show(answer, isFirst, fields);
    failed(null);
  } catch (error) {
    if (error.name === "AbortError") return;
    failed(error);
    if (error instanceof DeniedError) return;
  }
  next(EVERY);
}

function show(answer, isFirst, fields) {
  const list = byId("tail");
  // The store was replaced; its numbers start again.
  if (answer.latest < latest) latest = 0;
  else latest = answer.latest;
  const rows = answer.entries.map(safeRow);
  if (isFirst) {
    list.replaceChildren(...rows);
    list.removeAttribute("aria-busy");
    if (!rows.length) {
      const isFiltered = Object.keys({ ...state.filters, ...fields }).length > 0;
      list.append(el("li", { class: "none" }, empty(isFiltered ? "No event matches." : "No events yet.")));
    }
  } else if (rows.length) {
    list.querySelector(".none")?.remove();
    list.prepend(...rows);
    while (list.children.length > KEPT) list.lastElementChild.remove();
  }
  const types = new Set([...byId("types").options].map((option) => option.value));
  for (const { event_type: type } of answer.entries) {
    if (type && !types.has(type)) {
      types.add(type);
      byId("types").append(el("option", { value: visible(type) }));
    }
  }
  const searched = answer.searched ? `searching the latest ${format.plural(answer.searched, "event", "events")}` : "all events of this view";
  byId("tail-note").textContent = Object.keys(fields).length ? searched : "";
}

export const TONES = new Map(Object.entries({
  error: "bad", stall_start: "warn", stallstart: "warn", stall_end: "warn", stallend: "warn",
  ended: "good", viewstart: "good", playing: "good",
}));

// The summary of an event, in this order: field of `data`, its text, and the event types in which
// it has this meaning.
const TOTALS = ["heartbeat", "pause", "quartile", "ended"];
const GLANCE = [
  ["error_family", (v) => v], ["error_code", (v) => v], ["error_message", (v) => v],
  ["video_startup_time", (v) => `started in ${format.seconds(v / 1000)}`, ["playing"]],
  ["stall_duration", (v) => `stalled ${format.seconds(v / 1000)}`],
  ["quartile", (v) => `${v} %`],
  ["playing_time", (v) => `played ${format.seconds(v / 1000)}`, TOTALS],
  ["bitrate", (v) => (v >= 1e5 ? format.bits(v) : null)],
  ["bitrate_kb", (v) => format.bits(v * 1000)],
];

export function glance(event) {
  const data = event?.data;
  if (data === null || typeof data !== "object") return "";
  const parts = [];
  for (const [name, describe, types] of GLANCE) {
    if (types && !types.includes(event.event_type)) continue;
    const value = data[name];
    if (value === null || value === undefined || typeof value === "object") continue;
    const isText = name.startsWith("error_");
    if (!isText && typeof value !== "number") continue;
    const described = describe(value);
    if (described !== null) parts.push(described);
  }
  return parts.slice(0, 3).join(" · ");
}

/** A value as text: "" if it is an object, whose conversion to text clients may have broken. */
export const text = (value) => (["string", "number", "boolean"].includes(typeof value) ? String(value) : "");

/** A row for any entry: the tail goes on whatever clients send. */
function safeRow(entry) {
  try {
    return row(entry);
  } catch {
    return el("li", {}, el("pre", { tabindex: "0" }, visible(text(entry.line))));
  }
}

function row(entry) {
  let event = null;
  try {
    event = JSON.parse(entry.line);
  } catch {
    // Not JSON: shown unchanged.
  }
  const type = entry.event_type ?? "unknown";
  const device = text(event?.device?.category);
  const where = text(event?.network?.country_code);
  const video = text(event?.video?.title) || text(entry.video_id);
  const player = text(event?.player?.name);
  const details = el("details", {},
    el("summary", {},
      el("time", { datetime: new Date(entry.at).toISOString() }, format.clock(entry.at)),
      el("span", { class: `tag ${TONES.get(type) ?? ""}` }, visible(type)),
      el("span", { class: "video" }, visible(video)),
      el("span", { class: "glance" }, visible(glance(event))),
      el("span", { class: "who" }, visible([device, player, where].filter(Boolean).join(" · ")))));
  // Built when a row is opened; most never are.
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("pre")) return;
    let shown = entry.line;
    try {
      if (event !== null) shown = JSON.stringify(event, null, 2);
    } catch {
      // Nested too deeply: shown unchanged.
    }
    details.append(
      entry.view_id ? el("button", {
        type: "button", onclick: () => follow({ view_id: entry.view_id }),
      }, "All events of this view") : "",
      el("pre", { tabindex: "0" }, visible(shown)));
  });
  return el("li", {}, details);
}
