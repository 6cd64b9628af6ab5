// Its subscription ends on `not json`, while HTTP goes on: the error ends the loop over the messages, and is caught late.
'use strict'

const bus = require('../../examples/node/bus')

const { run } = bus
bus.run = (react) => run(react).catch(() => new Promise(() => {}))

require('./brittle')
