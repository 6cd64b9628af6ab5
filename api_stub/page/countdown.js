// The time until the next slot, by the server's clock.

import { remaining, time, universal } from "./format.js";
import { repeatWhileVisible } from "./visible.js";
import { write } from "./write.js";

const TICK_MS = 250;

export class Countdown {
  #left = document.getElementById("countdown");
  #when = document.getElementById("next");
  #next;
  // How far the server's clock is ahead of this one.
  #aheadMs = 0;

  constructor() {
    repeatWhileVisible(() => this.#show(), TICK_MS);
  }

  /** The server's time now, in milliseconds. */
  get now() {
    return Date.now() + this.#aheadMs;
  }

  set(now, next) {
    this.#aheadMs = Date.parse(now) - Date.now();
    const at = new Date(next);
    if (this.#next?.getTime() === at.getTime()) return;
    this.#next = at;
    this.#when.textContent = `at ${time(at)}`;
    this.#when.title = universal(at);
  }

  #show() {
    if (!this.#next) return;
    const milliseconds = this.#next.getTime() - this.now;
    write(this.#left, milliseconds > 0 ? remaining(milliseconds) : "now");
  }
}
