// Creates elements. Text from outside becomes text nodes, never markup.

/**
 * An element. Properties whose value is null or false are left out; `on…` are listeners.
 * Children are elements or text.
 */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

export function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A sparkline. Missing values are gaps. */
export function sparkline(values) {
  const known = values.filter((value) => value !== null);
  const svg = shape("svg", {
    class: "spark", viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true",
  });
  if (known.length < 2) return svg;
  const top = Math.max(...known);
  const low = Math.min(...known, 0);
  const x = (index) => (index * 100) / (values.length - 1);
  const y = (value) => 26 - ((value - low) * 24) / (top - low || 1);
  let run = [];
  const draw = () => {
    if (run.length > 1) {
      const line = run.map(([a, b]) => `${a.toFixed(2)},${b.toFixed(2)}`);
      const [first, last] = [run[0][0].toFixed(2), run.at(-1)[0].toFixed(2)];
      svg.append(
        shape("polygon", { points: `${first},28 ${line.join(" ")} ${last},28`, class: "area" }),
        shape("polyline", { points: line.join(" "), class: "line" }),
      );
    }
    run = [];
  };
  values.forEach((value, index) => (value === null ? draw() : run.push([x(index), y(value)])));
  draw();
  return svg;
}

/** A bar that fills a share (0 to 1) of its width. */
export function bar(share, className = "") {
  const made = el("span", { class: `bar ${className}`, "aria-hidden": "true" });
  if (!(share > 0)) return made;
  const fill = el("span", { class: "fill" });
  fill.style.width = `${Math.min(100, share * 100).toFixed(2)}%`;
  made.append(fill);
  return made;
}

/** A table. Columns: `{title, value(row), className}`; a value is text or an element. */
export function table(caption, columns, rows) {
  const head = el("tr", {});
  for (const column of columns) {
    head.append(el("th", { scope: "col", class: column.className }, column.title));
  }
  const body = el("tbody");
  for (const row of rows) {
    const line = el("tr");
    columns.forEach((column, index) => {
      const name = index ? "td" : "th";
      const scope = index ? null : "row";
      line.append(el(name, { scope, class: column.className }, column.value(row)));
    });
    body.append(line);
  }
  const made = el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, head), body);
  return el("div", { class: "table" }, made);
}

export const empty = (text) => el("p", { class: "empty" }, text);
