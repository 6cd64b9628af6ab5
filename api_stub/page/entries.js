// The lists of the last events and of the dead letters. Anyone may have sent what they hold, so it is only ever text.

import { number, price, text, time, universal } from "./format.js";

const SHOWN_ENTRIES = 20;
const LINE_CHARACTERS = 80;

/** Keeps the newest entries. `describe` gives what an entry shows: {at, title, note, body}. */
class Entries {
  #list;
  #empty;
  #describe;

  constructor(id, empty, describe) {
    this.#list = document.getElementById(id);
    this.#empty = document.getElementById(empty);
    this.#describe = describe;
  }

  /** The newest first. An entry that is shown already keeps its element, and so the focus. */
  show(entries) {
    const wanted = new Map(entries.slice(0, SHOWN_ENTRIES).map((entry) => [String(entry._id), entry]));
    for (const item of [...this.#list.children]) if (!wanted.has(item.dataset.id)) item.remove();
    const known = new Map([...this.#list.children].map((item) => [item.dataset.id, item]));
    [...wanted].forEach(([id, entry], place) => {
      const item = known.get(id) ?? this.#item(entry);
      const there = this.#list.children[place] ?? null;
      if (there !== item) this.#list.insertBefore(item, there);
    });
    this.#empty.hidden = entries.length > 0;
  }

  /** Adds an entry in its place: an event may come late, as a repaired one does. */
  add(entry) {
    if ([...this.#list.children].some((item) => item.dataset.id === String(entry._id))) return;
    const item = this.#item(entry);
    const isNewer = (other) => Number(other.dataset.at) > Number(item.dataset.at);
    this.#list.insertBefore(item, [...this.#list.children].find((other) => !isNewer(other)) ?? null);
    while (this.#list.children.length > SHOWN_ENTRIES) this.#list.lastElementChild.remove();
    this.#empty.hidden = true;
  }

  /** The words to show while the list is empty. */
  explain(words) {
    this.#empty.textContent = words;
    this.#empty.hidden = this.#list.children.length > 0;
  }

  #item(entry) {
    const { at, title, note, body } = this.#describe(entry);
    const item = document.createElement("li");
    item.dataset.id = String(entry._id);
    item.dataset.at = String(at.getTime());
    const details = item.appendChild(document.createElement("details"));
    const summary = details.appendChild(document.createElement("summary"));
    const when = summary.appendChild(document.createElement("time"));
    when.dateTime = Number.isNaN(at.getTime()) ? "" : at.toISOString();
    when.textContent = time(at);
    when.title = universal(at);
    summary.appendChild(document.createElement("strong")).textContent = text(title, LINE_CHARACTERS);
    summary.appendChild(document.createElement("span")).textContent = text(note, LINE_CHARACTERS);
    const shown = details.appendChild(document.createElement("pre"));
    shown.textContent = text(body);
    shown.tabIndex = 0; // it scrolls
    return item;
  }
}

function quoted(data) {
  if (!Array.isArray(data)) return "without market data";
  return data
    .slice(0, 3)
    .map((quote) => `${text(quote?.symbol ?? "?", 10)} ${price(quote?.price, quote?.currency)}`)
    .join(", ");
}

export class Events extends Entries {
  constructor() {
    super("events", "no-events", (event) => ({
      at: new Date(event.timestamp),
      title: String(event._id),
      note: quoted(event.data),
      body: event,
    }));
  }
}

export class Letters extends Entries {
  constructor() {
    super("letters", "no-letters", (letter) => ({
      at: new Date(letter.received_at),
      title: letter.reason,
      note: `${number(letter.size)} bytes`,
      body: letter.raw ?? "too long to be shown",
    }));
  }
}
