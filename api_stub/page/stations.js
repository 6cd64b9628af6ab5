// The four stations: their states and rates, and each event that is seen travelling along them.

import { number, seconds, time, universal } from "./format.js";

// A rate is over so many milliseconds.
const WINDOW = 60000;
const TRIP = 1400;

const WELL = { worker: "on time", nats: "connected", api_stub: "storing", mongo: "writing" };
const ELEMENTS = { worker: "station-worker", nats: "station-nats", api_stub: "station-api-stub", mongo: "station-mongo" };

/**
 * How much a counter grows in a minute, by the samples of the last one: [[milliseconds, count], ...]. Pure.
 * It is measured from one change to another, because a few seconds that are no whole number of events mislead.
 */
export function rate(samples) {
  const changes = samples.filter(([, count], place) => place > 0 && count !== samples[place - 1][1]);
  const [first, last] = [changes[0], changes.at(-1)];
  if (changes.length > 1) return Math.max(0, (60000 * (last[1] - first[1])) / (last[0] - first[0]));
  return samples.at(-1)[0] - samples[0][0] > 0.9 * WINDOW ? changes.length : NaN;
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

  /** Nothing is known any more. */
  lose() {
    for (const name of Object.keys(ELEMENTS)) this.#state(name, { ok: null, reason: "not known" });
  }

  /** One event on its way; while it travels, those that follow are not shown. */
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
    this.#trip = document.getElementById("traveller").animate(shown, { duration: TRIP, easing: "ease-in-out" });
  }

  #state(name, { ok, reason }) {
    const station = document.getElementById(ELEMENTS[name]);
    station.dataset.state = ok === null ? "unknown" : ok ? "ok" : "problem";
    set(station.querySelector(".state"), ok ? WELL[name] : (reason ?? "not known yet"));
  }

  #slot(slot) {
    if (!slot) return;
    const at = new Date(slot);
    const shown = document.querySelector("#station-worker [data-fact=slot]");
    set(shown, time(at));
    shown.title = universal(at);
  }

  #fact(name, fact, value) {
    set(document.querySelector(`#${ELEMENTS[name]} [data-fact=${fact}]`), value);
  }

  #rate(name, now, count) {
    if (!Number.isFinite(count)) return "–";
    const at = Date.parse(now);
    const samples = [...this.#samples[name], [at, count]].filter(([then]) => at - then <= WINDOW);
    this.#samples[name] = samples;
    return number(rate(samples));
  }
}

function set(element, value) {
  if (element.textContent !== value) element.textContent = value;
}
