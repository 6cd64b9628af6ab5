// The price chart of a coin over a range, drawn by uPlot, and its summary in words.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { change, moment, priceAmong, priceTicks, text, time, universal } from "./format.js";
import { write } from "./write.js";

// The server thins a series to about so many prices.
const POINTS = 400;
const TABLE_ROWS = 20;
const HEIGHT_PX = 240;
// uPlot has no ticks from 1e32 on. One such price would also flatten the line of all others.
const LARGEST_DRAWN = 1e30;

const step = (ticks) => (ticks.length > 1 ? ticks[1] - ticks[0] : 60);

/** The width of the price axis, in pixels, for its longest label. */
const axisWidth = (_, labels) => 16 + 7 * Math.max(4, ...(labels ?? []).map((label) => label.length));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  #box = document.getElementById("chart");
  #price = document.getElementById("price");
  #change = document.getElementById("change");
  #summary = document.getElementById("chart-summary");
  #plot;
  #times = [];
  #prices = [];
  #coin = "";
  #currency = "usd";

  constructor() {
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.#box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** The prices as GET /prices gives them, and the newest quote of the coin. */
  show(coin, prices, quote) {
    this.#coin = coin;
    this.#times = prices.map((one) => Date.parse(one.timestamp) / 1000);
    this.#prices = prices.map((one) => one.price);
    this.#newest(quote);
    if (this.#plot) this.#plot.setData(this.#data());
    else this.#draw();
    this.#tell();
  }

  /** Adds a price. Returns false when there are so many that the server should thin them again. */
  add(timestamp, quote) {
    const at = Date.parse(timestamp) / 1000;
    const last = this.#times.at(-1) ?? 0;
    if (!(at >= last)) return true;
    const isNew = Number.isFinite(quote.price) && at !== last;
    if (isNew) {
      this.#times.push(at);
      this.#prices.push(quote.price);
    }
    this.#newest(quote);
    if (!isNew) return true;
    this.#plot?.setData(this.#data());
    this.#tell();
    return this.#times.length < 2 * POINTS;
  }

  get coin() {
    return this.#coin;
  }

  static get points() {
    return POINTS;
  }

  #newest(quote) {
    this.#currency = typeof quote?.currency === "string" ? quote.currency : "usd";
    write(this.#price, this.#one(quote?.price));
    const changed = change(quote?.change_24h);
    write(this.#change, changed && `${changed} in 24 h`);
    const direction = Math.sign(quote?.change_24h) || 0;
    this.#change.dataset.direction = String(direction);
  }

  #size() {
    return { width: Math.max(200, this.#box.clientWidth), height: HEIGHT_PX };
  }

  #data() {
    return [this.#times, this.#prices.map((value) => (Math.abs(value) < LARGEST_DRAWN ? value : null))];
  }

  #draw() {
    this.#plot?.destroy();
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    this.#plot = new uPlot(
      {
        ...this.#size(),
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        hooks: { setCursor: [(plot) => this.#point(plot.cursor.idx)] },
        axes: [
          { ...axis, space: 100, values: (_, ticks) => ticks.map((tick) => moment(tick, step(ticks))) },
          { ...axis, size: axisWidth, values: (_, ticks) => priceTicks(ticks, this.#currency) },
        ],
        series: [{}, { stroke: colour("--accent"), width: 2, fill: colour("--tint"), points: { show: false } }],
      },
      this.#data(),
      this.#box,
    );
  }

  #point(index) {
    if (Number.isInteger(index)) write(this.#summary, `${this.#one(this.#prices[index])} at ${time(new Date(this.#times[index] * 1000))}`);
    else this.#tell();
  }

  #tell() {
    this.#box.dataset.points = String(this.#times.length);
    const summary = this.#prices.length
      ? `${text(this.#coin, 60)}: ${this.#times.length} prices from ${this.#at(0)} to ${this.#at(-1)}, between ${this.#one(this.#least())} and ${this.#one(this.#most())}.`
      : "No prices in this range.";
    write(this.#summary, summary);
    this.#table();
  }

  #table() {
    const rows = this.#times.slice(-TABLE_ROWS).map((at, place, all) => {
      const shown = new Date(at * 1000);
      const row = document.createElement("tr");
      const when = row.appendChild(document.createElement("td"));
      when.textContent = time(shown);
      when.title = universal(shown);
      row.appendChild(document.createElement("td")).textContent = this.#one(this.#prices.at(place - all.length));
      return row;
    });
    document.getElementById("prices").replaceChildren(...rows.reverse());
  }

  #at = (place) => time(new Date(this.#times.at(place) * 1000));
  #one = (value) => priceAmong(value, this.#most() - this.#least(), this.#currency);
  #least = () => this.#prices.reduce((least, value) => Math.min(least, value), Infinity);
  #most = () => this.#prices.reduce((most, value) => Math.max(most, value), -Infinity);
}
