// The event stream: one EventSource at a time, made anew when it has closed or fallen silent.

// The server sends its state every 2 s.
const SILENCE = 10000;
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 10000;

/** Calls `on.event`, `on.state`, `on.skipped` with what comes, `on.open` at each (re)connection, `on.lost` when it ends. */
export class Stream {
  #on;
  #source;
  #pause = FIRST_PAUSE;
  #watchdog;

  constructor(on) {
    this.#on = on;
    addEventListener("online", () => this.#again(0));
    this.#connect();
  }

  #connect() {
    const source = new EventSource("/events/stream");
    this.#source = source;
    this.#listen();
    source.onmessage = (message) => this.#hear(this.#on.event, message);
    source.addEventListener("state", (message) => this.#hear(this.#on.state, message));
    source.addEventListener("skipped", (message) => this.#hear(this.#on.skipped, message));
    source.onopen = () => {
      this.#pause = FIRST_PAUSE;
      this.#on.open();
    };
    source.onerror = () => {
      this.#on.lost();
      // It tries again by itself, unless the answer was a refusal.
      if (source.readyState === EventSource.CLOSED) this.#again(this.#pause);
    };
  }

  #hear(tell, message) {
    this.#listen();
    tell(JSON.parse(message.data));
  }

  #listen() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#on.lost();
      this.#again(0);
    }, SILENCE);
  }

  #again(pause) {
    clearTimeout(this.#watchdog);
    this.#source.close();
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    this.#watchdog = setTimeout(() => this.#connect(), pause);
  }
}
