// What is said beside the prices: which coins are not updated any more, and who gave the data.

import { text, universal } from "./format.js";

const DAY_MS = 86400000;
const STALE_INTERVALS = 4;
const MAX_NAMED = 5;
const COIN_CHARACTERS = 60;
const SOURCES = [
  { source: "coingecko", name: "CoinGecko", address: "https://www.coingecko.com" },
  { source: "defillama", name: "DefiLlama", address: "https://defillama.com" },
];

const instant = (value) => (typeof value === "string" ? Date.parse(value) : NaN);
const quotes = (event) => (Array.isArray(event?.data) ? event.data.filter((one) => typeof one?.coin === "string") : []);
const updates = (event) => quotes(event).map((one) => [one.coin, instant(one.updated_at ?? event.timestamp)]);

/** True if the update is too long before the slot. Milliseconds; what is not known is NaN. Pure. */
export const isStale = (updated, slot, interval) => slot - updated > Math.max(DAY_MS, STALE_INTERVALS * interval);

export class Remarks {
  #stale = document.getElementById("stale");
  #credits = document.getElementById("credits");
  #interval = NaN;
  #slot = NaN;
  #updates = new Map(); // of each coin in the newest events, in milliseconds
  #former = new Map(); // the same of coins that only older events quote
  #chosen = ""; // a coin

  /** The milliseconds from one slot of the schedule to the next. */
  set interval(milliseconds) {
    this.#interval = milliseconds;
    this.#name();
  }

  /** Takes the newest event: of any feed, and a part of a whole, so coins that it does not quote stay. */
  take(event) {
    this.#slot = instant(event.timestamp);
    for (const [coin, updated] of updates(event)) this.#updates.set(coin, updated);
    this.#name();
  }

  /** Takes an older one of the newest events. */
  add(event) {
    for (const [coin, updated] of updates(event)) if (!this.#updates.has(coin)) this.#updates.set(coin, updated);
    this.#name();
  }

  /** True if the newest events quote the coin, or `find` has had its newest one. */
  knows(coin) {
    return this.#updates.has(coin) || this.#former.has(coin);
  }

  /** Takes the newest event that quotes a coin: an old one if the coin was renamed or removed. */
  find(coin, event) {
    const found = updates(event).find(([name]) => name === coin);
    if (found) this.#former.set(...found);
  }

  /** Takes the chosen coin, and the newest event that quotes it. */
  choose(coin, event) {
    this.find(coin, event);
    this.#chosen = coin;
    this.#name();
    this.#credit(quotes(event).find((one) => one.coin === coin)?.source ?? event?.source);
  }

  /** True if the coin is not updated any more. */
  isStale(coin) {
    return isStale(this.#updates.get(coin) ?? this.#former.get(coin), this.#slot, this.#interval);
  }

  /** Names the coins of the newest events, and the chosen one, that are not updated any more. */
  #name() {
    const named = new Map(this.#updates);
    if (this.#former.has(this.#chosen) && !named.has(this.#chosen)) named.set(this.#chosen, this.#former.get(this.#chosen));
    const stale = [...named].filter(([coin]) => this.isStale(coin));
    const items = stale.slice(0, MAX_NAMED).map(([coin, updated]) => {
      const at = new Date(updated);
      return item(`${text(coin, COIN_CHARACTERS)}: last updated ${at.toISOString().split("T")[0]}`, universal(at));
    });
    if (stale.length > MAX_NAMED) items.push(item(`and ${stale.length - MAX_NAMED} more`, ""));
    replace(this.#stale, items);
  }

  /** Names the sources of an event's data, with links: none for simulated data and for what is not known. */
  #credit(source) {
    const names = typeof source === "string" ? source.split("+") : [];
    const named = names.includes("simulated") ? [] : SOURCES.filter((one) => names.includes(one.source));
    const parts = named.flatMap((one, place) => [place ? " and " : "Price data by ", link(one)]);
    replace(this.#credits, parts);
  }
}

/** Replaces what the element has, unless its words stay the same: a screen reader and the focus would notice. */
function replace(element, parts) {
  const words = parts.map((part) => part.textContent ?? part).join("");
  if (element.textContent !== words) element.replaceChildren(...parts);
}

function link({ name, address }) {
  const made = document.createElement("a");
  made.textContent = name;
  made.href = address;
  made.target = "_blank";
  made.rel = "noopener";
  return made;
}

function item(words, title) {
  const made = document.createElement("li");
  made.textContent = words;
  made.title = title;
  return made;
}
