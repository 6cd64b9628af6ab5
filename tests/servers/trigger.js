// As many servers are: another subject and body, CoinGecko's address in the code, and a database name of its own.
'use strict'

const axios = require('axios')
const express = require('express')
const mongoose = require('mongoose')
const nats = require('nats')

const TRIGGER = '{"trigger":"update"}'
const MARKET = 'https://api.coingecko.com/api/v3/simple/price'
const COINS = ['bitcoin', 'ethereum', 'matic-network']

const CryptoStat = mongoose.model('CryptoStat', new mongoose.Schema(
  { coin: String, price: Number, marketCap: Number, change24h: Number },
  { timestamps: true }
))

async function storeCryptoStats () {
  const { data } = await axios.get(MARKET, {
    timeout: 5000,
    params: { ids: COINS.join(), vs_currencies: 'usd', include_market_cap: true, include_24hr_change: true }
  })
  await CryptoStat.insertMany(COINS.filter((coin) => data[coin]).map((coin) => ({
    coin,
    price: data[coin].usd,
    marketCap: data[coin].usd_market_cap,
    change24h: data[coin].usd_24h_change
  })))
}

async function connectToMongo () {
  try {
    await mongoose.connect(process.env.MONGO_URI, { dbName: 'coinstats' })
  } catch (error) {
    console.error('MongoDB:', error.message)
    setTimeout(connectToMongo, 1000)
  }
}

async function main () {
  const inHand = new Set()
  const connection = await nats.connect({
    servers: process.env.NATS_URL, waitOnFirstConnect: true, maxReconnectAttempts: -1, pingInterval: 5000
  })
  connection.subscribe('crypto.update', {
    callback: (error, message) => {
      if (error || message.string() !== TRIGGER) return
      const work = storeCryptoStats().catch((error) => console.error('Not stored:', error.message))
      inHand.add(work.finally(() => inHand.delete(work)))
    }
  })
  console.log('Waiting for crypto.update')
  process.once('SIGTERM', async () => {
    await connection.drain()
    await Promise.all(inHand)
    process.exit(0)
  })
}

const app = express()
app.get('/stats', async (request, response) => {
  response.json(await CryptoStat.findOne({ coin: request.query.coin }).sort({ createdAt: -1 }))
})
app.listen(process.env.PORT)
connectToMongo()
main()
