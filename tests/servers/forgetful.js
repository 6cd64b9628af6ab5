// Stores a copy twice: it knows an event by when it came.
'use strict'

const stats = require('../../examples/node/stats')

const { store } = stats
stats.store = (slot, quotes) => store(new Date(), quotes)

require('../../examples/node/server')
