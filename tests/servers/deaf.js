// Deaf after a long outage: nats.js gives up after its 10 attempts, and the process lives on.
'use strict'

const bus = require('../../examples/node/bus')

delete bus.options.maxReconnectAttempts
const { run } = bus
bus.run = (react) => run(react).then(() => new Promise(() => {}))

require('../../examples/node/server')
