// Loses on SIGTERM what it has taken: it ends at once.
'use strict'

process.once('SIGTERM', () => process.exit(0))

require('../../examples/node/server')
