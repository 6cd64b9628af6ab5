// The event stream: one EventSource while the page is visible, made anew when it has closed or fallen silent.

import { whileVisible } from "./visible.js";

// The server sends its state every 2 s.
const SILENCE_MS = 10000;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 10000;

/**
 * Calls `on.event`, `on.state`, `on.note`, `on.skipped` with what comes, `on.open` at each (re)connection, and `on.lost`
 * when it ends.
 */
export class Stream {
  #on;
  #source;
  #timer;
  #retryMs = FIRST_RETRY_MS;

  constructor(on) {
    this.#on = on;
    whileVisible(
      () => this.#connect(),
      () => this.#close(),
    );
    addEventListener("online", () => this.#source && this.#reconnect(0));
  }

  #connect() {
    const source = new EventSource("events/stream");
    this.#source = source;
    this.#expectMore();
    source.onmessage = (message) => this.#hear(this.#on.event, message);
    for (const name of ["state", "note", "skipped"]) {
      source.addEventListener(name, (message) => this.#hear(this.#on[name], message));
    }
    source.onopen = () => {
      this.#retryMs = FIRST_RETRY_MS;
      this.#on.open();
    };
    source.onerror = () => {
      this.#on.lost();
      // EventSource tries again by itself, unless the answer was a refusal.
      if (source.readyState === EventSource.CLOSED) this.#reconnect(this.#retryMs);
    };
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source.close();
    this.#source = undefined;
  }

  #hear(tell, message) {
    this.#expectMore();
    tell(JSON.parse(message.data));
  }

  #expectMore() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#on.lost();
      this.#reconnect(0);
    }, SILENCE_MS);
  }

  #reconnect(pauseMs) {
    clearTimeout(this.#timer);
    this.#source.close();
    this.#retryMs = Math.min(2 * this.#retryMs, LONGEST_RETRY_MS);
    this.#timer = setTimeout(() => this.#connect(), pauseMs);
  }
}
