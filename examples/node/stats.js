'use strict'

const mongoose = require('mongoose')

const URI = process.env.MONGODB_URI ?? 'mongodb://localhost:27017/crypto'
const RETRY_MS = 1000
const PRICES = 100

const Price = mongoose.model('Price', new mongoose.Schema({
  _id: String,
  coin: String,
  slot: Date,
  price: Number,
  marketCap: Number,
  change24h: Number
}, { versionKey: false, autoIndex: false }).index({ coin: 1, slot: -1 }))

/** Returns when MongoDB is there, however long that takes. */
async function connect () {
  await retried(() => mongoose.connect(URI, { serverSelectionTimeoutMS: 3000, socketTimeoutMS: 15000 }))
  await retried(() => Price.createIndexes())
  console.log('[MONGO] Connected')
}

/** Stores the prices of a slot. A second copy of the event has the same keys, and changes nothing. */
async function store (slot, quotes) {
  const writes = quotes.map((quote) => ({
    updateOne: {
      filter: { _id: `${quote.coin}@${slot.toISOString()}` },
      update: { $setOnInsert: { ...quote, slot } },
      upsert: true
    }
  }))
  await retried(() => Price.bulkWrite(writes, { ordered: false }))
}

/** The coin's latest price, or null. */
const latest = (coin) => Price.findOne({ coin }).sort({ slot: -1 }).lean()

/** The population standard deviation of the coin's last 100 prices, or undefined without any. */
async function deviation (coin) {
  const [found] = await Price.aggregate([
    { $match: { coin } },
    { $sort: { slot: -1 } },
    { $limit: PRICES },
    { $group: { _id: null, deviation: { $stdDevPop: '$price' } } }
  ])
  return found?.deviation
}

const isConnected = () => mongoose.connection.readyState === mongoose.ConnectionStates.connected

const disconnect = () => mongoose.disconnect()

/** What `work` returns, tried again for as long as MongoDB is away. */
async function retried (work) {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      console.error(`[MONGO] ${error.message}; trying again`)
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }
}

module.exports = { connect, store, latest, deviation, isConnected, disconnect }
