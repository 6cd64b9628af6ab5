'use strict'

// ISO 8601 with an offset: without one, a time is another one on each machine.
const TIMESTAMP = /^\d{4}-\d\d-\d\dT.+(Z|[+-]\d\d:\d\d)$/

/** The slot of an event as a Date, or undefined if the bytes are no event. */
function parse (bytes) {
  try {
    const { event, timestamp } = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    const slot = new Date(timestamp)
    if (event === 'CRYPTO_UPDATE' && TIMESTAMP.test(timestamp) && !isNaN(slot)) return slot
  } catch {} // not UTF-8, not JSON, null
}

module.exports = { parse }
