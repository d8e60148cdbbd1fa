// Numbers with units. An unknown value is a dash, never a zero.

export const NONE = "–";

/** Between number and unit: prevents a line break. */
const SPACE = "\u00a0";

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const digits = (value, count) =>
  value.toLocaleString("en", { minimumFractionDigits: count, maximumFractionDigits: count });

export function count(value) {
  if (value === null || value === undefined) return NONE;
  return Math.abs(value) < 100_000 ? plain.format(value) : compact.format(value);
}

export function decimal(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  return Math.abs(value) < 10 ? digits(value, 2) : Math.abs(value) < 100 ? digits(value, 1) : count(value);
}

/** Number and unit of a duration in seconds. */
export function secondsParts(value) {
  if (value === null || value === undefined) return [NONE, ""];
  if (value === 0) return ["0", "s"];
  if (value < 0.9995) return [digits(value * 1000, 0), "ms"];
  if (value < 60) return [digits(value, value < 10 ? 2 : 1), "s"];
  if (value < 3600) return [digits(value / 60, 1), "min"];
  const hours = value / 3600;
  return [hours < 100 ? digits(hours, 1) : count(hours), "h"];
}

/** A duration that is a whole number of its unit: of a step, of a range. */
export function span(ms) {
  for (const [unit, length] of [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000]]) {
    if (ms >= length && ms % length === 0) return `${ms / length}${SPACE}${unit}`;
  }
  return seconds(ms / 1000).replace(/\.0+(?!\d)/, "");
}

export const seconds = (value) => secondsParts(value).filter(Boolean).join(SPACE);

/** Number of a share, 0 to 1, in percent. */
export function percentNumber(value) {
  if (value === null || value === undefined) return NONE;
  const hundredths = value * 100;
  if (hundredths === 0) return "0";
  return digits(hundredths, hundredths < 10 ? 2 : hundredths < 99.95 ? 1 : 0);
}

export const percent = (value) => {
  const number = percentNumber(value);
  return number === NONE ? NONE : `${number}${SPACE}%`;
};

function scaled(value, units, base) {
  if (value === null || value === undefined) return NONE;
  let power = 0;
  while (value >= base && power < units.length - 1) {
    value /= base;
    power += 1;
  }
  return `${digits(value, value < 10 && power ? 1 : 0)}${SPACE}${units[power]}`;
}

export const bits = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"], 1000);
export const bytes = (value) => scaled(value, ["B", "kB", "MB", "GB", "TB"], 1000);

const hourMinute = { hour: "2-digit", minute: "2-digit", hour12: false };
export const clock = (ms) =>
  new Date(ms).toLocaleTimeString("en", { ...hourMinute, second: "2-digit" });

export function moment(ms) {
  const date = new Date(ms);
  const time = date.toLocaleTimeString("en", hourMinute);
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString("en", { day: "numeric", month: "short" })} ${time}`;
}

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

/**
 * Text from outside with invisible characters escaped: control characters, and marks that change
 * the direction of writing.
 */
export function visible(text) {
  return String(text).replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
