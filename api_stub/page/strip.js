// The strip: a cell for each slot, which explains itself, and the figures of the span.

import { number, seconds, span, time, universal } from "./format.js";
import { write } from "./write.js";

export const CELLS = 300;

const foreign = (cell) => (cell.foreign ? ", by a foreign event (its id names no feed)" : "");

const STATES = {
  stored: (cell) => `stored ${seconds(cell.lag)} after its time${cell.data ? "" : ", without market data"}${foreign(cell)}`,
  late: (cell) => `stored late, ${seconds(cell.lag)} after its time${foreign(cell)}`,
  missing: () => "missing: no event of this slot is stored",
  pending: (cell) => (cell.coming ? "to come" : "due, its event is on the way"),
  before: () => "before the first event that is kept, so none is expected",
};

/** What a cell says about itself. Pure. */
export const explanation = (cell) => `${time(new Date(cell.slot))}: ${STATES[cell.state]?.(cell) ?? cell.state}`;

export class Strip {
  #strip = document.getElementById("strip");
  #cells = new Map();
  #current;

  constructor() {
    this.#strip.addEventListener("pointerover", (event) => this.#tell(event.target));
    this.#strip.addEventListener("focusin", (event) => this.#focus(event.target));
    this.#strip.addEventListener("keydown", (event) => this.#move(event));
  }

  /** The slots as GET /slots gives them. */
  show(slots) {
    const cells = [...slots.slots, { slot: slots.next, state: "pending", lag: null, data: false, coming: true }];
    const kept = new Set(cells.map((cell) => cell.slot));
    for (const [slot, button] of this.#cells) if (!kept.has(slot)) this.#remove(slot, button);
    for (const cell of cells) this.#update(cell);
    for (const name of ["expected", "stored", "late", "missing"]) {
      write(document.querySelector(`#figures [data-figure=${name}]`), number(slots[name]));
    }
    document.getElementById("figures").dataset.missing = String(slots.missing > 0);
    if (slots.slots.length) {
      write(document.getElementById("strip-span"), span(Date.parse(slots.now) - Date.parse(slots.slots[0].slot)));
    }
    if (!this.#strip.querySelector("[tabindex='0']")) this.#strip.lastElementChild.firstElementChild.tabIndex = 0;
  }

  #update(cell) {
    let button = this.#cells.get(cell.slot);
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.tabIndex = -1;
      button.dataset.slot = cell.slot;
      this.#cells.set(cell.slot, button);
      document.createElement("li").append(button);
      this.#place(button.parentElement);
    }
    button.dataset.state = cell.state;
    button.dataset.coming = String(Boolean(cell.coming));
    button.dataset.foreign = String(Boolean(cell.foreign));
    const words = explanation(cell);
    if (button.ariaLabel !== words) {
      button.ariaLabel = words;
      button.title = universal(new Date(cell.slot));
      if (button === this.#current) this.#tell(button);
    }
  }

  /** Cells are in the order of time. A new one is nearly always the last. */
  #place(item) {
    const slot = item.firstElementChild.dataset.slot;
    let before = this.#strip.lastElementChild;
    while (before && before.firstElementChild.dataset.slot > slot) before = before.previousElementSibling;
    if (before) before.after(item);
    else this.#strip.prepend(item);
  }

  #remove(slot, button) {
    this.#cells.delete(slot);
    button.parentElement.remove();
  }

  #tell(button) {
    if (!button.dataset.slot) return;
    this.#current = button;
    write(document.getElementById("cell"), button.ariaLabel);
  }

  #focus(button) {
    for (const other of this.#strip.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    button.tabIndex = 0;
    this.#tell(button);
  }

  #move(event) {
    const item = event.target.parentElement;
    const goal = {
      ArrowLeft: item.previousElementSibling,
      ArrowRight: item.nextElementSibling,
      Home: this.#strip.firstElementChild,
      End: this.#strip.lastElementChild,
    }[event.key];
    if (!goal) return;
    event.preventDefault();
    goal.firstElementChild.focus();
  }
}
