'use strict'

const bus = require('./bus')
const http = require('./http')
const market = require('./market')
const stats = require('./stats')

// Docker kills a container 10 seconds after SIGTERM.
const STOP_MS = 8000

async function react (slot) {
  await stats.store(slot, await market.prices())
  console.log(`[STATS] Stored the prices of ${slot.toISOString()}`)
}

async function main () {
  let status = 1 // without events the server is of no use: it ends, and who started it may start it again
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
      status = 0
      setTimeout(() => process.exit(1), STOP_MS)
      if (!bus.drain()) process.exit()
    })
  }
  http.listen(process.env.PORT ?? 3000)
  stats.connect()
  await bus.run(react)
  await stats.disconnect()
  process.exit(status)
}

main()
