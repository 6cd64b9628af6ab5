'use strict'

const nats = require('nats')

const event = require('./event')

const SUBJECT = process.env.SUBJECT ?? 'crypto.updates'

const options = {
  servers: (process.env.NATS_URL ?? 'nats://localhost:4222').split(','),
  user: process.env.NATS_USER,
  pass: process.env.NATS_PASSWORD,
  waitOnFirstConnect: true, // NATS may start after this server
  maxReconnectAttempts: -1, // by default nats.js gives up after 10
  pingInterval: 5000, // a dead connection is noticed within 15 seconds; by default it takes 6 minutes
  maxPingOut: 2
}

const DRAIN_MS = 2000

let connection

/** Calls `react(slot)` for one event after the other. Returns when no more can come. */
async function run (react) {
  connection = await nats.connect(options)
  const subscription = connection.subscribe(SUBJECT)
  console.log(`[NATS] Subscribed to ${SUBJECT} at ${connection.getServer()}`)
  log(connection.status())
  for await (const message of subscription) {
    const slot = event.parse(message.data)
    if (slot) await react(slot).catch((error) => console.error(`[EVENT] Not stored: ${error.message}`))
    else console.warn(`[EVENT] No event: ${message.data.length} bytes`)
  }
}

/** Takes no more events: `run` returns when those that are here are done with. False if it has never been connected. */
function drain () {
  if (!connection) return false
  connection.drain().catch(() => {}) // by another signal, it has begun already
  setTimeout(() => connection.close(), DRAIN_MS) // while NATS is away, nobody answers
  return true
}

async function log (statuses) {
  for await (const { type, data } of statuses) {
    if (['disconnect', 'reconnect', 'error'].includes(type)) console.log(`[NATS] ${type}: ${data}`)
  }
}

module.exports = { options, run, drain }
