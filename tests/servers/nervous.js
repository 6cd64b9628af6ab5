// Ends when the market answers with 500: a promise is rejected, and nobody handles that.
'use strict'

const { fetch } = global
global.fetch = async (...args) => {
  const answer = await fetch(...args)
  if (answer.status === 500) Promise.reject(new Error('Internal Server Error'))
  return answer
}

require('../../examples/node/server')
