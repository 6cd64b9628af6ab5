// Loaded first into every Node.js program of the harness (NODE_OPTIONS=--require): what connects to api.coingecko.com
// reaches the harness's market. TLS stays as it is; NODE_EXTRA_CA_CERTS makes the program trust the market's certificate.
'use strict'

const { Socket } = require('node:net')

const HOST = 'api.coingecko.com'
// The local port for each port of the host, such as {"443": 20123}.
const PORTS = JSON.parse(process.env.HARNESS_COINGECKO_PORTS || '{}')

const { connect } = Socket.prototype

// fetch, http, https, http2 and the clients built on them all end here.
Socket.prototype.connect = function (...args) {
  // node:net passes its arguments on as one array, which it knows by a symbol: hence no copy of it.
  redirect(Array.isArray(args[0]) ? args[0] : args)
  return connect.apply(this, args)
}

/** Changes `connect(options)` and `connect(port, host)`. */
function redirect (args) {
  const [first, second] = args
  if (typeof first === 'object' && first !== null) {
    const port = local(first.host, first.port)
    if (port) args[0] = { ...first, host: '127.0.0.1', port }
  } else {
    const port = local(second, first)
    if (port) args.splice(0, 2, port, '127.0.0.1')
  }
}

function local (host, port) {
  return String(host).toLowerCase() === HOST ? PORTS[port] : undefined
}
