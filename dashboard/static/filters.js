// The filter bar: the offered values and the active filters.

import { byId, el } from "./dom.js";
import { visible } from "./format.js";
import { NAMES, state } from "./state.js";

const SELECTS = ["org_id", "player_id", "video_id", "device_category"];

let offered = {};

export function build() {
  const form = byId("filters");
  form.addEventListener("change", ({ target }) => state.set({ filters: { [target.name]: target.value } }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state.clear();
  });
  state.addEventListener("change", render);
  render();
}

/** Show an answer of `filters`. */
export function show({ filters }) {
  offered = filters;
  render();
}

function render() {
  for (const name of SELECTS) {
    const select = byId("filters").elements[name];
    const chosen = state.filters[name] ?? "";
    const options = [...(offered[name] ?? [])];
    if (chosen && !options.some(({ value }) => value === chosen)) options.unshift({ value: chosen, text: chosen });
    const wanted = JSON.stringify([options, chosen]);
    if (select.dataset.shown === wanted) continue; // do not change a list that is open
    select.dataset.shown = wanted;
    select.replaceChildren(
      el("option", { value: "" }, "All"),
      ...options.map(({ value, text }) => el("option", { value }, visible(text))),
    );
    select.value = chosen;
    select.classList.toggle("on", Boolean(chosen));
  }
  const others = Object.entries(state.filters).filter(([name]) => !SELECTS.includes(name));
  byId("chips").replaceChildren(...others.map(([name, value]) =>
    el("button", {
      type: "button", class: "chip", "aria-label": visible(`Remove the filter ${NAMES[name]} ${value}`),
      onclick: () => state.set({ filters: { [name]: "" } }),
    }, `${NAMES[name]}: ${visible(value)} ✕`)));
  byId("clear").hidden = Object.keys(state.filters).length === 0;
}
