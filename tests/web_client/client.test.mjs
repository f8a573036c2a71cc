// The published client under Node, without React, against a real gateway and its pretend Claude.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StreamError, StreamManager } from 'tokenweir-client/core'

const { GATEWAY_URL: apiUrl, SIMULATOR_URL, KEY, KEY_OF_ONE } = process.env
const QUESTION = 'What are your opening hours?'
const manager = new StreamManager({ apiUrl, getToken: () => KEY })

async function stats() {
  return (await fetch(`${SIMULATOR_URL}/_sim/stats`)).json()
}

async function failure(promise) {
  const error = await promise.then(() => assert.fail('it did not fail'), (error) => error)
  assert(error instanceof StreamError, String(error))
  return error
}

test('an answer arrives token by token', async () => {
  const times = []
  const types = []
  let metadata
  const onToken = ({ type }) => {
    types.push(type)
    times.push(performance.now())
  }
  const onComplete = (_, told) => {
    metadata = told
  }
  const text = await manager.streamLLMResponse(QUESTION, undefined, onToken, undefined, onComplete)
  assert.match(text, /^We are open Monday to Friday/)
  assert.equal(types.pop(), 'done')
  assert.deepEqual(new Set(types), new Set(['text']))
  assert.equal(types.length, 44)
  assert(new Set(times.map(Math.round)).size > 10)
  assert.equal(metadata.usage.outputTokens, 44)
  assert.match(metadata.requestId, /^req_gw/)
})

test('a conversation, a system prompt and passages are taken', async () => {
  const quick = '[[sim: tokens-per-second=0; time-to-first-token=0]]'
  const options = { messages: [{ role: 'user', content: 'Hi' }, { role: 'assistant', content: 'Hello' }], maxTokens: 5 }
  let metadata
  await manager.streamLLMResponse(`Count ${quick}`, 'Be brief', null, null, (_, told) => {
    metadata = told
  }, options)
  assert.equal(metadata.stopReason, 'max_tokens')
  assert(await manager.streamWithRAG(`When? ${quick}`, ['From nine to six.'], 'en'))
})

test('aborting stops Claude', async () => {
  const before = (await stats()).cancelled
  const controller = new AbortController()
  const { signal } = controller
  const first = () => controller.abort()
  const started = manager.streamLLMResponse('Hi [[sim: tokens=500]]', null, first, null, null, { signal })
  assert.equal((await failure(started)).code, 'aborted')
  while ((await stats()).cancelled === before) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal((await stats()).active, 0)
})

test('a refusal says when to come back', async () => {
  const one = new StreamManager({ apiUrl, getToken: () => KEY_OF_ONE })
  await one.streamLLMResponse('Hi [[sim: tokens=1]]')
  const error = await failure(one.streamLLMResponse('Hi'))
  assert.equal(error.code, 'rate_limited')
  assert.equal(error.status, 429)
  assert.equal(error.limit, 'key-requests-per-minute')
  assert(error.retryAfterMs >= 1000 && error.retryAfterMs <= 60_000)
  assert(error.retryable)
  assert.match(error.requestId, /^req_gw/)
  const stranger = new StreamManager({ apiUrl, getToken: () => 'tw_nobody' })
  const refused = await failure(stranger.streamLLMResponse('Hi'))
  assert.deepEqual([refused.code, refused.retryable], ['unauthenticated', false])
})

test('what breaks Claude in the middle is an error with a code', async () => {
  const seen = []
  const cut = manager.streamLLMResponse('Hi [[sim: cut-after=5]]', null, ({ token }) => seen.push(token))
  const error = await failure(cut)
  assert.deepEqual([error.code, error.retryable], ['upstream_truncated', true])
  assert.equal(seen.length, 5)
})

test('a retry of its own gets the answer', async () => {
  const patient = new StreamManager({ apiUrl, getToken: () => KEY, maxRetries: 1 })
  assert(await patient.streamLLMResponse('Hi [[sim: tokens=2; status=529; count=1; id=once]]'))
})
