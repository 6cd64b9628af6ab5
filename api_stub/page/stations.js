// The four stations: their states and rates, and the dot that travels along them with each event.

import { number, seconds, time, universal } from "./format.js";
import { write } from "./write.js";

const MINUTE_MS = 60000;
const TRIP_MS = 1400;

const WHEN_OK = { worker: "on time", nats: "connected", api_stub: "storing", mongo: "writing" };
const ELEMENTS = { worker: "station-worker", nats: "station-nats", api_stub: "station-api-stub", mongo: "station-mongo" };

/**
 * How much a counter grows in a minute, from the last minute's samples: [[milliseconds, count], ...]. Pure.
 * It measures from one change to another: a span that cuts between two events would mislead.
 */
export function rate(samples) {
  const changes = samples.filter(([, count], place) => place > 0 && count !== samples[place - 1][1]);
  const [first, last] = [changes[0], changes.at(-1)];
  if (changes.length > 1) return Math.max(0, (MINUTE_MS * (last[1] - first[1])) / (last[0] - first[0]));
  return samples.at(-1)[0] - samples[0][0] > 0.9 * MINUTE_MS ? changes.length : NaN;
}

export class Stations {
  #samples = { nats: [], mongo: [] };
  #trip;

  /** The state as GET /state gives it. */
  show(state) {
    for (const name of Object.keys(ELEMENTS)) this.#state(name, state[name]);
    this.#slot(state.worker.slot);
    this.#fact("api_stub", "lag", seconds(state.worker.lag));
    this.#fact("nats", "pending", number(state.nats.pending));
    this.#fact("nats", "rate", this.#rate("nats", state.now, state.nats.last_seq));
    this.#fact("mongo", "events", number(state.mongo.events));
    this.#fact("mongo", "rate", this.#rate("mongo", state.now, state.mongo.events));
  }

  /** Show that nothing is known any more. */
  lose() {
    for (const name of Object.keys(ELEMENTS)) this.#state(name, { ok: null, reason: "not known" });
  }

  /** Show one event on its way. Events that come while it travels are not shown. */
  travel() {
    if (this.#trip?.playState === "running") return;
    const steps = [
      { left: "0%", opacity: 0 },
      { left: "2%", opacity: 1, offset: 0.1 },
      { left: "98%", opacity: 1, offset: 0.9 },
      { left: "100%", opacity: 0 },
    ];
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const shown = still ? [{ opacity: 0 }, { opacity: 1 }, { opacity: 0 }] : steps;
    this.#trip = document.getElementById("traveller").animate(shown, { duration: TRIP_MS, easing: "ease-in-out" });
  }

  #state(name, { ok, reason }) {
    const station = document.getElementById(ELEMENTS[name]);
    station.dataset.state = ok === null ? "unknown" : ok ? "ok" : "problem";
    write(station.querySelector(".state"), reason ?? (ok ? WHEN_OK[name] : "not known yet"));
  }

  #slot(slot) {
    if (!slot) return;
    const at = new Date(slot);
    const shown = document.querySelector("#station-worker [data-fact=slot]");
    write(shown, time(at));
    shown.title = universal(at);
  }

  #fact(name, fact, value) {
    write(document.querySelector(`#${ELEMENTS[name]} [data-fact=${fact}]`), value);
  }

  #rate(name, now, count) {
    if (!Number.isFinite(count)) return "–";
    const at = Date.parse(now);
    const samples = [...this.#samples[name], [at, count]].filter(([then]) => at - then <= MINUTE_MS);
    this.#samples[name] = samples;
    return number(rate(samples));
  }
}
