// A test in Node.js by fetch alone, without a package: crypto-updates harness --exec 'node --test FILE'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { beforeEach, test } from 'node:test'

const { HARNESS_URL, NATS_HOST, NATS_PORT, COINGECKO_URL } = process.env

async function ask (path, body, method = body ? 'POST' : 'GET') {
  const headers = { 'Content-Type': 'application/json' }
  const answer = await fetch(HARNESS_URL + path, { method, headers, body: body && JSON.stringify(body) })
  const text = await answer.text()
  assert.ok(answer.ok, text)
  return text && JSON.parse(text)
}

// A subscriber of NATS, as small as the protocol permits.
async function subscribe (subject) {
  const connection = net.connect(NATS_PORT, NATS_HOST)
  const heard = { text: '', closed: once(connection, 'close'), end: () => connection.end() }
  // What the harness has seen may reach us a moment later: then another piece comes.
  heard.hears = async (wanted) => { while (!wanted.test(heard.text)) await once(connection, 'data') }
  connection.on('data', data => { heard.text += data })
  connection.on('error', () => {})
  connection.write(`CONNECT {"verbose":false}\r\nSUB ${subject} 1\r\n`)
  await ask('/wait', { what: 'subscribers', subject })
  return heard
}

beforeEach(() => ask('/reset', undefined, 'POST'))

test('the variables are those that the harness tells', async () => {
  for (const [name, value] of Object.entries(await ask('/env'))) assert.equal(process.env[name], value)
})

test('a subscriber hears the trigger, each copy of it', async () => {
  const heard = await subscribe('crypto.update')
  await ask('/events', { subject: 'crypto.update', body: '{"trigger":"update"}', copies: 2 })
  const published = await ask('/wait', { what: 'published', count: 2, still: 0.2 })
  assert.deepEqual(published.map(message => message.body), ['{"trigger":"update"}', '{"trigger":"update"}'])
  await heard.hears(/(MSG crypto\.update 1 20\r\n\{"trigger":"update"\}\s*){2}/)
  heard.end()
})

test('the market has the prices that were set, and knows what it was asked', async () => {
  await ask('/market', { prices: { bitcoin: 1.5 } })
  const answer = await fetch(`${COINGECKO_URL}/simple/price?ids=bitcoin&vs_currencies=usd`)
  assert.deepEqual(await answer.json(), { bitcoin: { usd: 1.5 } })
  assert.deepEqual((await ask('/market')).requests.map(request => request.query.ids), ['bitcoin'])
})

test('a NATS server that was down is back when the fault is answered', async () => {
  const first = await subscribe('crypto.updates')
  await ask('/faults/nats', { fault: 'down', seconds: 0.3 })
  await first.closed
  const second = await subscribe('crypto.updates')
  await ask('/events', { slot: '2026-01-01T00:00:00Z' })
  await second.hears(/\{"event":"CRYPTO_UPDATE","timestamp":"2026-01-01T00:00:00Z"\}/)
  second.end()
})

test('a quarter of an hour of the real worker takes a second', async () => {
  await ask('/clock', { clock: 900, environ: { MARKET_SOURCE: 'none' } })
  const published = await ask('/wait', { what: 'published', count: 2, within: 30 })
  const [first, second] = published.map(message => Date.parse(JSON.parse(message.body).timestamp))
  assert.equal(second - first, 15 * 60 * 1000)
})
