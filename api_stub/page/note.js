// What a demo breaks on purpose, and whether anything is lost by it.

import { number } from "./format.js";
import { write } from "./write.js";

export class Note {
  #bar = document.getElementById("demo");
  #text = document.getElementById("note");
  #tally = document.getElementById("tally");

  /** The demo's note as the event stream brings it. `over`: what was broken works again. */
  show({ text, over }) {
    this.#bar.hidden = false;
    this.#bar.dataset.over = String(over);
    write(this.#text, text);
  }

  /** The slots as GET /slots gives them. */
  count({ expected, stored, missing }) {
    const rest = missing ? `${number(missing)} missing so far` : "none missing";
    write(this.#tally, `${number(stored)} of ${number(expected)} slots stored, ${rest}`);
    this.#tally.dataset.missing = String(missing > 0);
  }
}
