// What ends a request before its answer does: the caller, time, a limit of its own. And what begins it again.

import { getEventListeners } from 'node:events'
import { expect, test, vi } from 'vitest'
import { StreamManager } from '../../src/core'
import { failure } from '../support/outcome'
import { type Answer, serve } from '../support/server'

const silent: Answer = (reply) => reply.stream().text('a')
const overloaded: Answer = (reply) => reply.json(529, { error: 'Failed to stream response', code: 'overloaded' })
const good: Answer = (reply) => reply.stream().text('ok').done()

test('aborting cancels the request', async () => {
  const server = await serve(silent)
  const { signal, abort } = abortable()
  const onError = vi.fn()
  const manager = new StreamManager({ apiUrl: server.url })
  const error = await failure(manager.streamLLMResponse('Hi', null, abort, onError, undefined, { signal }))
  expect(error).toMatchObject({ code: 'aborted', name: 'AbortError', retryable: false })
  await server.asked[0]?.gone
  expect(onError).not.toHaveBeenCalled()
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
})

test('aborted beforehand, nothing is sent', async () => {
  const server = await serve(good)
  const manager = new StreamManager({ apiUrl: server.url })
  const options = { signal: AbortSignal.abort() }
  expect((await failure(manager.streamLLMResponse('Hi', null, null, null, null, options))).code).toBe('aborted')
  expect(server.asked).toHaveLength(0)
})

test('aborting works while a token is awaited, and with a fetch that knows no signals', async () => {
  const { signal, abort } = abortable()
  const getToken = () => {
    abort()
    return new Promise<string>(() => {})
  }
  const waiting = new StreamManager({ apiUrl: 'http://127.0.0.1:1', getToken })
  expect((await failure(waiting.streamLLMResponse('Hi', null, null, null, null, { signal }))).code).toBe('aborted')

  const server = await serve(silent)
  const deaf: typeof fetch = (input, init) => fetch(input, { ...init, signal: null })
  const again = abortable()
  const manager = new StreamManager({ apiUrl: server.url, fetch: deaf })
  const asked = manager.streamLLMResponse('Hi', null, again.abort, null, null, { signal: again.signal })
  expect((await failure(asked)).code).toBe('aborted')
  await server.asked[0]?.gone
})

test('an answer has a time in all', async () => {
  const server = await serve(async (reply, { gone }) => {
    reply.stream()
    const timer = setInterval(() => reply.text('a'), 20)
    await gone
    clearInterval(timer)
  })
  const onError = vi.fn()
  const manager = new StreamManager({ apiUrl: server.url, timeout: 200 })
  const error = await failure(manager.streamLLMResponse('Hi', null, null, onError))
  expect(error).toMatchObject({ code: 'timeout', retryable: true })
  expect(onError).toHaveBeenCalledWith(error)
  await server.asked[0]?.gone
})

test.each([0, Number.POSITIVE_INFINITY])('a time of %s is no limit', async (time) => {
  const server = await serve(async (reply) => {
    reply.stream()
    await new Promise((resolve) => setTimeout(resolve, 50))
    reply.text('a').done()
  })
  const manager = new StreamManager({ apiUrl: server.url, timeout: time, idleTimeout: time })
  expect(await manager.streamLLMResponse('Hi')).toBe('a')
})

test.each<[string, Answer]>([
  ['in the middle', silent],
  ['before the status', () => {}],
  ['in the body of an error', (reply) => void reply.raw.writeHead(500).flushHeaders()],
])('silence ends it %s', async (_, answer) => {
  const server = await serve(answer)
  const manager = new StreamManager({ apiUrl: server.url, idleTimeout: 150 })
  expect(await failure(manager.streamLLMResponse('Hi'))).toMatchObject({ code: 'idle_timeout', retryable: true })
  await server.asked[0]?.gone
})

test('a heartbeat is no silence', async () => {
  const server = await serve(async (reply) => {
    reply.stream()
    for (let n = 0; n < 20; n++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      reply.write(':\n\n')
    }
    reply.text('late').done()
  })
  const manager = new StreamManager({ apiUrl: server.url, idleTimeout: 1500 })
  expect(await manager.streamLLMResponse('Hi')).toBe('late')
})

test('past its own limit it rejects, and sends nothing', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const server = await serve(good)
  const manager = new StreamManager({ apiUrl: server.url, maxRequestsPerMinute: 2, maxRetries: 3 })
  const onError = vi.fn()
  await manager.streamLLMResponse('Hi')
  vi.advanceTimersByTime(20_000)
  await manager.streamLLMResponse('Hi')
  const error = await failure(manager.streamLLMResponse('Hi', null, null, onError))
  expect(error).toMatchObject({ message: 'Rate limit exceeded', code: 'client_rate_limited', retryable: true })
  expect(error.retryAfterMs).toBe(40_000)
  expect(onError).toHaveBeenCalledWith(error)
  expect(server.asked).toHaveLength(2)
  vi.advanceTimersByTime(40_000)
  expect(await manager.streamLLMResponse('Hi')).toBe('ok')
  await expect(manager.streamLLMResponse('Hi')).rejects.toThrow('Rate limit exceeded')
  vi.useRealTimers()
})

test('without being told to, it tries once', async () => {
  const server = await serve(overloaded, good)
  await failure(new StreamManager({ apiUrl: server.url }).streamLLMResponse('Hi'))
  expect(server.asked).toHaveLength(1)
})

test('it tries again before the first token, as often as it was told', async () => {
  const server = await serve(overloaded, (reply) => reply.stream().raw.destroy(), good)
  const onError = vi.fn()
  const manager = new StreamManager({ apiUrl: server.url, maxRetries: 2 })
  expect(await manager.streamLLMResponse('Hi', null, null, onError)).toBe('ok')
  expect(onError).not.toHaveBeenCalled()
  expect(server.asked).toHaveLength(3)
  const never = await serve(overloaded)
  await failure(new StreamManager({ apiUrl: never.url, maxRetries: 1 }).streamLLMResponse('Hi'))
  expect(never.asked).toHaveLength(2)
})

test('it does not where that cannot help, nor once a token came', async () => {
  const server = await serve((reply) => reply.json(400, { error: 'No.', code: 'invalid_request' }), good)
  const manager = new StreamManager({ apiUrl: server.url, maxRetries: 3 })
  expect((await failure(manager.streamLLMResponse('Hi'))).code).toBe('invalid_request')
  const cut = await serve((reply) => reply.stream().text('a').reset(), good)
  const again = new StreamManager({ apiUrl: cut.url, maxRetries: 3 })
  expect((await failure(again.streamLLMResponse('Hi'))).code).toBe('network_error')
  expect([server.asked.length, cut.asked.length]).toEqual([1, 1])
})

test('it waits as long as it is told to, or leaves the retry to the caller', async () => {
  const times: number[] = []
  const server = await serve((reply) => {
    times.push(performance.now())
    if (times.length > 1) return good(reply, server.asked[0] as never)
    reply.json(429, { error: 'Too many requests', code: 'rate_limited', retryAfter: 1 })
  })
  await new StreamManager({ apiUrl: server.url, maxRetries: 1 }).streamLLMResponse('Hi')
  expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(990)
  const long = await serve((reply) => reply.json(429, { retryAfter: 31 }), good)
  const manager = new StreamManager({ apiUrl: long.url, maxRetries: 1 })
  expect((await failure(manager.streamLLMResponse('Hi'))).retryAfterMs).toBe(31_000)
})

test('the wait for a retry ends with the signal and with the time in all', async () => {
  const server = await serve((reply) => reply.json(503, {}, { 'Retry-After': '20' }))
  const timed = new StreamManager({ apiUrl: server.url, maxRetries: 1, timeout: 2000, idleTimeout: 1000 })
  expect((await failure(timed.streamLLMResponse('Hi'))).code).toBe('timeout')
  expect(server.asked).toHaveLength(1)
})

function abortable() {
  const controller = new AbortController()
  return { signal: controller.signal, abort: () => controller.abort() }
}
