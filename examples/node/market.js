'use strict'

const URL = process.env.COINGECKO_URL ?? 'https://api.coingecko.com/api/v3'
const COINS = process.env.COINS ?? 'bitcoin,ethereum,polygon-ecosystem-token'
const TIMEOUT_MS = 5000

/** What CoinGecko has of each coin now. Rejects when it answers with anything else, or not in time. */
async function prices () {
  const answer = await fetch(`${URL}/coins/markets?vs_currency=usd&ids=${encodeURIComponent(COINS)}`, {
    signal: AbortSignal.timeout(TIMEOUT_MS)
  })
  if (!answer.ok) throw new Error(`the market answered with ${answer.status}`)
  const quotes = await answer.json()
  return quotes.filter((quote) => quote.current_price !== null).map((quote) => ({
    coin: quote.id,
    price: quote.current_price,
    marketCap: quote.market_cap,
    change24h: quote.price_change_percentage_24h
  }))
}

module.exports = { prices }
