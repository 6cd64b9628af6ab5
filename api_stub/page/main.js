// Wires the parts: what comes from the stream and the API goes to the part that shows it.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { Countdown } from "./countdown.js";
import { Events, Letters } from "./entries.js";
import { time } from "./format.js";
import { notice } from "./notices.js";
import { Stations } from "./stations.js";
import { Stream } from "./stream.js";
import { MOST, Strip } from "./strip.js";

const HOUR = 3600000;
// Milliseconds: before what comes together is fetched together, before another try, and without any event.
const TOGETHER = 300;
const AGAIN = 3000;
const QUIET = 60000;

const chart = new Chart();
const countdown = new Countdown();
const events = new Events();
const letters = new Letters();
const stations = new Stations();
const strip = new Strip();

const coins = document.getElementById("coins");
const range = document.getElementById("range");
const wrong = { nats: false, mongo: false };
let hours = 24;
let labelled = -Infinity;
let deadLetters;
// What has not shown its first data.
const waiting = new Set(["events", "slots", "prices", "letters"]);

/** Runs `work` soon, once for all calls until then, and again if it fails; a failure is told at the top. */
function together(work) {
  let timer;
  let working = false;
  const soon = (pause) => {
    timer ??= setTimeout(run, pause);
  };
  const run = async () => {
    timer = undefined;
    if (working) return soon(TOGETHER); // an older answer must not come after a newer one
    working = true;
    try {
      await work();
      notice("api", false);
    } catch (error) {
      // With a status, it is the API stub that answers, and its state says what is down.
      notice("api", error.status === 0 && navigator.onLine);
      soon(AGAIN);
    } finally {
      working = false;
    }
  };
  return (pause = TOGETHER) => soon(pause);
}

// Events may be of any time. Those of the far future are never the newest.
const soonest = () => countdown.now + HOUR;

const showEvents = together(async () => {
  const page = await get("/events", { limit: 20, until: new Date(soonest()).toISOString() });
  events.show(page.events);
  label(page.events[0]);
  ready("events");
});

const showSlots = together(async () => {
  const slots = await get("/slots", { hours, limit: MOST });
  strip.show(slots);
  countdown.set(slots.now, slots.next);
  // One cell a slot: of a dense schedule, only the newest slots are asked for from now on.
  if (slots.slots.length === MOST) hours = Math.max(0.01, (Date.parse(slots.now) - Date.parse(slots.slots[0].slot)) / HOUR);
  if (!slots.beginning) events.explain(`None yet. The first slot is at ${time(new Date(slots.next))}.`);
  ready("slots");
});

const showPrices = together(async () => {
  const known = (await get("/coins")).coins;
  const chosen = known.includes(coins.value) ? coins.value : known[0];
  if (known.join() !== [...coins.options].map((option) => option.value).join()) {
    coins.replaceChildren(...known.map((coin) => new Option(coin, coin, false, coin === chosen)));
  }
  if (chosen !== undefined) {
    const back = Number(range.querySelector("[aria-pressed=true]").dataset.hours) * HOUR;
    const since = new Date(countdown.now - back).toISOString();
    const [series, newest] = await Promise.all([
      get("/prices", { coin: chosen, since, points: Chart.points }),
      get("/events", { coin: chosen, limit: 1, until: new Date(soonest()).toISOString() }),
    ]);
    chart.show(chosen, series.prices, newest.events[0] && quote(newest.events[0], chosen));
  }
  ready("prices");
});

const showLetters = together(async () => {
  letters.show((await get("/dead-letters", { limit: 20 })).dead_letters);
  ready("letters");
});

function showAll(pause) {
  for (const show of [showEvents, showSlots, showPrices, showLetters]) show(pause);
}

const quote = (event, coin) => (Array.isArray(event.data) ? event.data.find((one) => one?.coin === coin) : undefined);

/** Says whether the newest event is simulated. */
function label(event) {
  const at = Date.parse(event?.timestamp);
  if (!(at >= labelled)) return;
  labelled = at;
  document.getElementById("simulated").hidden = event.source !== "simulated";
}

/** A part shows data; with the last of them, the page is ready. */
function ready(part) {
  waiting.delete(part);
  if (waiting.size || document.body.dataset.ready !== undefined) return;
  document.body.dataset.ready = "";
  performance.mark("first-data");
}

function arrived(event) {
  events.add(event);
  stations.travel();
  showSlots();
  if (Date.parse(event.timestamp) > soonest()) return;
  label(event);
  const newest = quote(event, chart.coin);
  if (!chart.coin || (newest && !chart.add(event.timestamp, newest))) showPrices();
}

function informed(state) {
  notice("offline", false); // the server may be on this very machine
  countdown.set(state.now, state.next);
  stations.show(state);
  const words = state.words.startsWith("every") ? `An event ${state.words}` : `Schedule ${state.words} (${state.zone})`;
  document.getElementById("schedule").textContent = words;
  for (const name of ["nats", "mongo"]) {
    const broken = state[name].ok === false;
    notice(name, broken, state[name].reason);
    if (wrong[name] && !broken) showAll();
    wrong[name] = broken;
  }
  if (state.mongo.dead_letters !== deadLetters) {
    deadLetters = state.mongo.dead_letters;
    document.getElementById("letters-count").textContent = deadLetters ?? "–";
    showLetters();
  }
}

function connected() {
  notice("stream", false);
  notice("api", false);
  showAll();
}

function lost() {
  notice("stream", navigator.onLine);
  notice("offline", !navigator.onLine);
  stations.lose();
  showSlots(); // which tells whether the API stub is there at all
}

coins.addEventListener("change", () => showPrices(0));
range.addEventListener("click", (event) => {
  if (!event.target.dataset.hours) return;
  for (const button of range.children) button.ariaPressed = String(button === event.target);
  showPrices(0);
});
addEventListener("online", () => notice("offline", false));
addEventListener("offline", () => {
  notice("offline", true);
  notice("stream", false);
  notice("api", false);
  stations.lose();
});
setInterval(() => {
  showSlots();
  showPrices(); // the range moves on, and there may be a new coin
}, QUIET);
showAll(0);

new Stream({ open: connected, event: arrived, state: informed, skipped: () => showAll(), lost });
