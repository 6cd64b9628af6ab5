// How numbers, times and values are written. Pure: nothing here touches the page.

const UTC = { dateStyle: "medium", timeStyle: "medium", timeZone: "UTC" };
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const utc = new Intl.DateTimeFormat(undefined, UTC);
const plain = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const percentage = new Intl.NumberFormat(undefined, { style: "percent", minimumFractionDigits: 2, signDisplay: "exceptZero" });

const VALUE_CHARACTERS = 5000;

export const number = (value) => (Number.isFinite(value) ? plain.format(value) : "–");

// Numbers from this size on, or with more decimals, are written as 1.5E20.
const LARGEST_PLAIN = 1e18;
const MOST_DECIMALS = 12;

/** As many digits as a small price needs, and as tell it from others that are spread over so much. */
function digitsOf(value, spread = 0) {
  const size = Math.abs(value);
  if (size >= LARGEST_PLAIN || (size > 0 && size < 10 ** -MOST_DECIMALS)) return { notation: "scientific", maximumSignificantDigits: 4 };
  const places = spread > 0 ? Math.min(Math.ceil(-Math.log10(spread)) + 1, MOST_DECIMALS) : 0;
  if (size >= 1) return { maximumFractionDigits: Math.max(size >= 100 ? 2 : 4, places) };
  return 10 ** (4 - places) <= size ? { minimumFractionDigits: 0, maximumFractionDigits: places } : { maximumSignificantDigits: 4 };
}

/** A price among others, whose largest is so much more than the smallest. */
export const priceAmong = (value, spread, currency) => price(value, currency, digitsOf(value, spread));

/** A price in its currency, with as many digits as a small one needs. */
export function price(value, currency, digits = digitsOf(value)) {
  if (!Number.isFinite(value)) return "–";
  try {
    const about = { style: "currency", currency, currencyDisplay: "narrowSymbol", ...digits };
    return new Intl.NumberFormat(undefined, about).format(value);
  } catch {
    // CoinGecko also has currencies without an ISO 4217 code, "bits" for example.
    return `${new Intl.NumberFormat(undefined, digits).format(value)} ${text(currency ?? "", 10).toUpperCase()}`.trim();
  }
}

/** The decimals that tell the multiples of a step apart: 2 for 0.25, 0 for 2500. */
function decimals(step) {
  const [digits, exponent] = Number(step.toPrecision(3)).toExponential().split("e");
  return Math.max(0, (digits.split(".")[1] ?? "").length - exponent);
}

/** The prices of an axis, with as many decimals as their distance needs. */
export function priceTicks(ticks, currency) {
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : Math.abs(ticks[0] ?? 0) || 1;
  const largest = Math.max(...ticks.map(Math.abs));
  const scientific = largest >= LARGEST_PLAIN || decimals(step) > MOST_DECIMALS;
  const places = scientific ? decimals(step / 10 ** Math.floor(Math.log10(largest))) : decimals(step);
  const digits = { minimumFractionDigits: places, maximumFractionDigits: places, notation: scientific ? "scientific" : "standard" };
  return ticks.map((tick) => price(tick, currency, digits));
}

/** A change in percent: 1.5 is 1.5 %. */
export const change = (value) => (Number.isFinite(value) ? percentage.format(value / 100) : "");

/** A number of seconds, in the unit that suits it. */
export function seconds(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 100) return `${plain.format(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

/** What is left until an instant: 4:59, 1:02:03. */
export function remaining(milliseconds) {
  const left = Math.max(0, Math.ceil(milliseconds / 1000));
  const parts = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, place) => String(part).padStart(place ? 2 : 1, "0")).join(":");
}

/** A span of time in words: 24 hours, 25 minutes. */
export function span(milliseconds) {
  const minutes = Math.round(milliseconds / 60000);
  if (minutes < 2) return `${Math.max(1, Math.round(milliseconds / 1000))} seconds`;
  return minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
}

const valid = (at) => !Number.isNaN(at.getTime());

/** The time of day, with the day if it is not today. */
export function time(at) {
  if (!valid(at)) return "–";
  const today = at.toDateString() === new Date().toDateString();
  return (today ? clock : day).format(at);
}

const moments = [
  [60, clock],
  [86400, new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" })],
  [Infinity, new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" })],
];

/** An instant (seconds since 1970) on an axis whose ticks are `step` seconds apart. */
export const moment = (at, step) => moments.find(([longest]) => step < longest)[1].format(new Date(at * 1000));

export const universal = (at) => (valid(at) ? `${utc.format(at)} UTC` : "");

/** Any value as text, cut if it is too long. */
export function text(value, longest = VALUE_CHARACTERS) {
  const whole = typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
  return whole.length > longest ? `${whole.slice(0, longest)} … (${number(whole.length)} characters)` : whole;
}
