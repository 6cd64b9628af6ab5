// Ends on `not json`: nobody catches the error.
'use strict'

const event = require('../../examples/node/event')

const { parse } = event
event.parse = (bytes) => JSON.parse(Buffer.from(bytes).toString()) && parse(bytes)

require('../../examples/node/server')
