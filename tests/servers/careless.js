// Stores an event without prices when the market has none, as some do on purpose and others by mistake.
'use strict'

const market = require('../../examples/node/market')

const { prices } = market
let coins = []
market.prices = async () => {
  try {
    const quotes = await prices()
    coins = quotes.map((quote) => quote.coin)
    return quotes
  } catch {
    return coins.map((coin) => ({ coin, price: null }))
  }
}

require('../../examples/node/server')
