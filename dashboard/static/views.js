// The list of views: filters, counts, rows, pages.

import { ask } from "./api.js";
import { byId, el, empty, table } from "./dom.js";
import * as format from "./format.js";
import { state } from "./state.js";

const { NONE, visible } = format;

export const OUTCOMES = {
  completed: ["Completed", "good"], stopped: ["Stopped", ""], exit_before_start: ["Left before start", "warn"],
  bounce: ["Bounce", ""], start_failure: ["Failed to start", "bad"], playback_failure: ["Failed", "bad"],
  unknown: ["Unknown", ""], running: ["Running", "good"],
};

const SORTS = {
  last_seen: "Latest", startup_ms: "Slowest start", rebuffer_ms: "Most rebuffering", errors: "Most errors",
  watch_ms: "Longest", score: "Lowest score",
};

const PAGE = 25;

let next = null;
let asked = new AbortController();
let failed = () => {};

const form = () => byId("views-form");

/** The address of a view's page: it can be pasted into a ticket. */
export function address({ org_id: org, view_id: view, video_id: video, player }) {
  return `?${new URLSearchParams({ page: "view", org_id: org, view_id: view, video_id: video, player })}`;
}

export const outcomeTag = (outcome) => {
  const [text, tone] = OUTCOMES[outcome ?? "running"] ?? [visible(outcome), ""];
  return el("span", { class: `state ${tone}` }, text);
};

export const ms = (value) => (value === null || value === undefined ? NONE : format.seconds(value / 1000));

export function build(onerror) {
  failed = onerror;
  const { outcome, sort } = form().elements;
  outcome.append(...Object.entries(OUTCOMES).map(([value, [text]]) => el("option", { value }, text)));
  sort.append(...Object.entries(SORTS).map(([value, text]) => el("option", { value }, text)));
  form().addEventListener("submit", (event) => event.preventDefault());
  form().addEventListener("change", () => state.setViews(fields()));
  byId("views-clear").addEventListener("click", () => state.setViews({}));
  byId("views-more").addEventListener("click", () => more());
  fill();
}

const fields = () => Object.fromEntries([...new FormData(form())].filter(([, value]) => value));

function fill() {
  for (const input of form().elements) if (input.name) input.value = state.views[input.name] ?? "";
  if (!form().elements.sort.value) form().elements.sort.value = "last_seen";
  byId("views-clear").hidden = Object.keys(state.views).length === 0;
  byId("views-csv").href = `dashboard/api/views?${parameters({ format: "csv", limit: 10_000 })}`;
}

const parameters = (extra) => new URLSearchParams({ ...Object.fromEntries(state.query()), ...state.views, ...extra });

/** Show the views that match these fields besides the page's filters; called from other panels. */
export function follow(wanted) {
  state.setViews(wanted);
  byId("views-title").scrollIntoView({ block: "start" });
  byId("views-title").focus({ preventScroll: true });
}

/** The parameters of the list, besides range and filters. */
export const wanted = () => ({ ...state.views, limit: PAGE });

export function show(answer) {
  fill();
  next = answer.next;
  const { count, is_capped: isCapped, outcomes } = answer;
  const total = `${isCapped ? "more than " : ""}${format.plural(count, "view", "views")}`;
  byId("views-note").replaceChildren(
    el("strong", {}, total), isCapped ? ", of the latest of them " : " ",
    ...Object.keys(OUTCOMES).filter((name) => outcomes[name]).map((name) => el("button", {
      type: "button", class: "chip", onclick: () => state.setViews({ ...state.views, outcome: name }),
      "aria-label": `Show only ${OUTCOMES[name][0].toLowerCase()}: ${outcomes[name]} views`,
    }, `${OUTCOMES[name][0]} ${format.count(outcomes[name])}`)));
  byId("views").replaceChildren(answer.views.length ? list(answer.views) : empty("No view matches in this time range."));
  byId("views-more").hidden = next === null;
}

export function list(rows, caption = "Views") {
  return table(caption, [
    { title: "View", className: "name", value: (row) => el("a", { href: address(row), title: visible(row.view_id) },
      visible(row.title || row.video_id || "without video")) },
    { title: "Seen", className: "", value: (row) => el("time", { datetime: new Date(row.last_seen).toISOString() }, format.moment(row.last_seen)) },
    { title: "Outcome", className: "", value: (row) => outcomeTag(row.outcome) },
    { title: "Start-up", className: "number wide", value: (row) => ms(row.startup_ms) },
    { title: "Watched", className: "number wide", value: (row) => ms(row.watch_ms) },
    { title: "Stalls", className: "number", value: (row) => (row.rebuffers ? `${row.rebuffers} · ${ms(row.rebuffer_ms)}` : "0") },
    { title: "Errors", className: "number wide", value: (row) => format.count(row.errors) },
    { title: "Score", className: "number wide", value: (row) => (row.score === null ? NONE : format.count(row.score)) },
    { title: "Viewer", className: "wide", value: (row) => el("div", { class: "cut", title: visible(row.viewer_id ?? "") }, visible(row.viewer_id ?? NONE)) },
    { title: "Where", className: "wide", value: (row) => visible([row.player_name, row.device_category, row.network_country].filter(Boolean).join(" · ")) },
  ], rows);
}

async function more() {
  asked.abort();
  asked = new AbortController();
  try {
    const answer = await ask("views", parameters({ limit: PAGE, cursor: next }), asked.signal);
    const added = list(answer.views).querySelectorAll("tbody tr");
    byId("views").querySelector("tbody").append(...added);
    next = answer.next;
    byId("views-more").hidden = next === null;
    added[0]?.querySelector("a").focus();
  } catch (error) {
    if (error.name !== "AbortError") failed(error);
  }
}
