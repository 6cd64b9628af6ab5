// The time until the next slot, by the server's clock.

import { remaining, time, universal } from "./format.js";

export class Countdown {
  #left = document.getElementById("countdown");
  #when = document.getElementById("next");
  #next;
  // Milliseconds that the server's clock is ahead of this one.
  #ahead = 0;

  constructor() {
    setInterval(() => this.#show(), 250);
  }

  /** The server's time now, in milliseconds. */
  get now() {
    return Date.now() + this.#ahead;
  }

  set(now, next) {
    this.#ahead = Date.parse(now) - Date.now();
    const at = new Date(next);
    if (this.#next?.getTime() === at.getTime()) return;
    this.#next = at;
    this.#when.textContent = `at ${time(at)}`;
    this.#when.title = universal(at);
  }

  #show() {
    if (!this.#next) return;
    const milliseconds = this.#next.getTime() - this.now;
    const left = milliseconds > 0 ? remaining(milliseconds) : "now";
    if (this.#left.textContent !== left) this.#left.textContent = left;
  }
}
