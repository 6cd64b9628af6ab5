// Brings what comes from the stream and the API to the part of the page that shows it.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { Countdown } from "./countdown.js";
import { Events, Letters } from "./entries.js";
import { time } from "./format.js";
import { Note } from "./note.js";
import { notice } from "./notices.js";
import { Remarks } from "./remarks.js";
import { Stations } from "./stations.js";
import { Stream } from "./stream.js";
import { CELLS, Strip } from "./strip.js";
import { repeatWhileVisible, whileVisible } from "./visible.js";

const HOUR_MS = 3600000;
const DEBOUNCE_MS = 300;
const RETRY_MS = 3000;
const IDLE_REFRESH_MS = 60000;
const SHOWN_ENTRIES = 20;
const MAX_FOUND_AT_ONCE = 10;

const chart = new Chart();
const countdown = new Countdown();
const events = new Events();
const letters = new Letters();
const note = new Note();
const remarks = new Remarks();
const stations = new Stations();
const strip = new Strip();

const coins = document.getElementById("coins");
const range = document.getElementById("range");
const broken = { nats: false, mongo: false };
let hours = 24;
let labelledAt = -Infinity;
let deadLetters;
let due; // the newest slot whose event should be there
// The parts that have not shown their first data.
const waiting = new Set(["events", "slots", "prices", "letters"]);

/** Returns a function that runs `work` soon, once for all its calls until then. A failure shows a notice and is retried. */
function debounced(work) {
  let timer;
  let working = false;
  const soon = (pauseMs) => {
    timer ??= setTimeout(run, pauseMs);
  };
  const run = async () => {
    timer = undefined;
    if (document.hidden) return; // all is fetched when the page is visible again
    if (working) return soon(DEBOUNCE_MS); // an older answer must not come after a newer one
    working = true;
    try {
      await work();
      notice("api", false);
    } catch (error) {
      // An answer with a status is the API stub's own, and its state says what is down.
      notice("api", error.status === 0 && navigator.onLine && !document.hidden);
      soon(RETRY_MS);
    } finally {
      working = false;
    }
  };
  return (pauseMs = DEBOUNCE_MS) => soon(pauseMs);
}

// For each answer that is under way, the events that came meanwhile.
const meanwhile = new Set();

/** Waits for an answer. Gives it with the events that came meanwhile, which it may lack. */
async function answered(asking) {
  const came = [];
  meanwhile.add(came);
  try {
    return [await asking, came];
  } finally {
    meanwhile.delete(came);
  }
}

// Anyone's event may be of any time. One of the far future does not count as the newest.
const latestTime = () => countdown.now + HOUR_MS;

const showEvents = debounced(async () => {
  const asking = get("events", { limit: SHOWN_ENTRIES, until: new Date(latestTime()).toISOString() });
  const [page, came] = await answered(asking);
  events.show(page.events);
  came.forEach((event) => events.add(event));
  label(page.events[0]);
  page.events.forEach((event) => remarks.add(event));
  if (waiting.has("events")) showPrices(); // now it is known which coins the newest events quote
  ready("events");
});

const showSlots = debounced(async () => {
  const slots = await get("slots", { hours, limit: CELLS });
  strip.show(slots);
  note.count(slots);
  countdown.set(slots.now, slots.next);
  const newest = slots.slots.at(-1)?.slot ?? due;
  remarks.interval = Date.parse(slots.next) - Date.parse(newest);
  // A dense schedule has more slots than cells: from now on, ask only for those that are shown.
  if (slots.slots.length === CELLS) hours = Math.max(0.01, (Date.parse(slots.now) - Date.parse(slots.slots[0].slot)) / HOUR_MS);
  if (!slots.beginning) events.explain(`None yet. The first slot is at ${time(new Date(slots.next))}.`);
  ready("slots");
});

const showPrices = debounced(async () => {
  const known = (await get("coins")).coins;
  const chosen = known.includes(coins.value) ? coins.value : known[0];
  if (!waiting.has("events")) await findFormer(known);
  const names = known.map((coin) => (remarks.isStale(coin) ? `${coin} (not updated)` : coin));
  if (names.join() !== [...coins.options].map((option) => option.text).join()) {
    coins.replaceChildren(...known.map((coin, place) => new Option(names[place], coin, false, coin === chosen)));
  }
  if (chosen !== undefined) {
    const back = Number(range.querySelector("[aria-pressed=true]").dataset.hours) * HOUR_MS;
    const since = new Date(countdown.now - back).toISOString();
    const asking = Promise.all([get("prices", { coin: chosen, since, points: Chart.points }), newestOf(chosen)]);
    const [[series, newest], came] = await answered(asking);
    chart.show(chosen, series.prices, newest && quote(newest, chosen));
    remarks.choose(chosen, newest);
    came.forEach(draw);
  }
  ready("prices");
});

const newestOf = async (coin) =>
  (await get("events", { coin, limit: 1, until: new Date(latestTime()).toISOString() })).events[0];

/** Looks for the newest quotes of coins that were renamed or removed, once. */
async function findFormer(known) {
  const former = known.filter((coin) => !remarks.knows(coin)).slice(0, MAX_FOUND_AT_ONCE);
  for (const [place, event] of (await Promise.all(former.map(newestOf))).entries()) remarks.find(former[place], event);
}

const showLetters = debounced(async () => {
  letters.show((await get("dead-letters", { limit: SHOWN_ENTRIES })).dead_letters);
  ready("letters");
});

function showAll(pauseMs) {
  for (const show of [showEvents, showSlots, showPrices, showLetters]) show(pauseMs);
}

const quote = (event, coin) => (Array.isArray(event.data) ? event.data.find((one) => one?.coin === coin) : undefined);

/** Shows what there is to say about the newest event: whether it is simulated, and which of its coins are stale. */
function label(event) {
  const at = Date.parse(event?.timestamp);
  if (!(at >= labelledAt)) return;
  labelledAt = at;
  // An event without data has no source. The prices are still those of the one before.
  if (event.source !== undefined) document.getElementById("simulated").hidden = event.source !== "simulated";
  remarks.take(event);
}

/** The page is ready when the last of its parts shows data. */
function ready(part) {
  waiting.delete(part);
  if (waiting.size || document.body.dataset.ready !== undefined) return;
  document.body.dataset.ready = "";
  performance.mark("first-data");
}

function arrived(event) {
  meanwhile.forEach((came) => came.push(event));
  events.add(event);
  stations.travel();
  showSlots();
  draw(event);
}

/** Draws an event from the stream, unless it is of the far future. */
function draw(event) {
  if (Date.parse(event.timestamp) > latestTime()) return;
  label(event);
  const newest = quote(event, chart.coin);
  if (!chart.coin || (newest && !chart.add(event.timestamp, newest))) showPrices();
  if (newest && Date.parse(event.timestamp) === labelledAt) remarks.choose(chart.coin, event);
}

function informed(state) {
  notice("offline", false); // a server on this machine is reached without a network
  countdown.set(state.now, state.next);
  if (due !== state.last) showSlots(); // the worker may have missed it
  due = state.last;
  stations.show(state);
  const words = state.words.startsWith("every") ? `An event ${state.words}` : `Schedule ${state.words} (${state.zone})`;
  document.getElementById("schedule").textContent = words;
  for (const name of ["nats", "mongo"]) {
    const wasBroken = broken[name];
    broken[name] = state[name].ok === false;
    notice(name, broken[name], state[name].reason);
    if (wasBroken && !broken[name]) showAll();
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
  showSlots(); // its failure tells that the API stub does not answer
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

showAll(0);
whileVisible(() => showAll());
repeatWhileVisible(() => {
  showSlots();
  showPrices(); // the range moves on, and there may be a new coin
}, IDLE_REFRESH_MS);
new Stream({
  open: connected,
  event: arrived,
  state: informed,
  note: (told) => note.show(told),
  skipped: () => showAll(),
  lost,
});
