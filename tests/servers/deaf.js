// Deaf after a long outage: nats.js gives up after 5 attempts, which take 10 seconds, and the process lives on.
'use strict'

const bus = require('../../examples/node/bus')

bus.options.maxReconnectAttempts = 5
const { run } = bus
bus.run = (react) => run(react).then(() => new Promise(() => {}))

require('../../examples/node/server')
