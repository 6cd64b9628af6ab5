// crypto-updates harness --exec 'npm test'
'use strict'

const assert = require('node:assert')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { after, before, beforeEach, describe, it } = require('node:test')

const { HARNESS_URL, PORT } = process.env
const COINS = 3

let server

/** What the harness answers to a POST. */
async function harness (path, body = {}) {
  const headers = { 'Content-Type': 'application/json' }
  const answer = await fetch(HARNESS_URL + path, { method: 'POST', headers, body: JSON.stringify(body) })
  const text = await answer.text()
  assert.ok(answer.ok, text)
  return text && JSON.parse(text)
}

/** What our server answers to a GET. */
const get = async (path) => (await fetch(`http://127.0.0.1:${PORT}${path}`)).json()

const subscribed = () => harness('/wait', { what: 'subscribers', count: 1 })

/** Returns when our server has written so often, or fails. With `still`, it must not write again for so many seconds. */
const written = (count, still = 0) => harness('/wait', { what: 'reactions', count, still })

describe('the server', () => {
  before(async () => {
    server = spawn(process.execPath, ['server.js'], { stdio: ['ignore', process.stderr, process.stderr] })
    await subscribed()
  })

  beforeEach(() => harness('/reset'))

  after(async () => {
    server.kill()
    assert.deepStrictEqual(await once(server, 'exit'), [0, null])
  })

  it('stores the prices at each event, and tells how far they deviate', async () => {
    for (const [number, bitcoin] of [40000, 45000, 50000].entries()) {
      await harness('/market', { prices: { bitcoin } })
      await harness('/events')
      await written(COINS * (number + 1))
    }
    assert.deepStrictEqual(await get('/deviation?coin=bitcoin'), { deviation: 4082.48 })
    assert.strictEqual((await get('/stats?coin=bitcoin')).price, 50000)
  })

  it('changes nothing at a second copy of an event', async () => {
    await harness('/events', { copies: 2 })
    await written(COINS, 1)
  })

  it('takes no other message for an event, and lives on', async () => {
    await harness('/events', { body: 'not json' })
    await harness('/events', { invalid: 'no timestamp' })
    await harness('/events')
    await written(COINS, 0.5)
  })

  it('lives on when the market fails', async () => {
    await harness('/market', { status: 500 })
    await harness('/events')
    await written(0, 0.5)
    await harness('/market', { status: 200 })
    await harness('/events')
    await written(COINS)
  })

  it('hears events again after NATS was down', async () => {
    await harness('/faults/nats', { fault: 'down', seconds: 3 })
    await subscribed()
    await harness('/events')
    await written(COINS)
  })
})
