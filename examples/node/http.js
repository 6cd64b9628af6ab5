'use strict'

const express = require('express')

const stats = require('./stats')

const app = express()

app.get('/stats', async (request, response) => {
  const found = await stats.latest(String(request.query.coin))
  if (!found) return response.status(404).json({ error: `no price of the coin ${request.query.coin}` })
  response.json({ price: found.price, marketCap: found.marketCap, '24hChange': found.change24h })
})

app.get('/deviation', async (request, response) => {
  const deviation = await stats.deviation(String(request.query.coin))
  if (deviation === undefined) return response.status(404).json({ error: `no price of the coin ${request.query.coin}` })
  response.json({ deviation: Math.round(deviation * 100) / 100 })
})

app.get('/health', (request, response) => {
  response.status(stats.isConnected() ? 200 : 503).json({ mongodb: stats.isConnected() })
})

const listen = (port) => app.listen(port, (error) => {
  if (error) throw error // such as a port that is taken
  console.log(`[HTTP] Listening on port ${port}`)
})

module.exports = { listen }
