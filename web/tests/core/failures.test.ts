// Each way in which an answer fails, and what the error says.

import { expect, test, vi } from 'vitest'
import { StreamManager, streamManager } from '../../src/core'
import { failure } from '../support/outcome'
import { serve } from '../support/server'

const ask = (apiUrl: string) => failure(new StreamManager({ apiUrl }).streamLLMResponse('Hi'))

test('an error frame is an error with its sentence', async () => {
  const metadata = { code: 'upstream_timeout', retryable: true, retryAfterMs: 2000, requestId: 'req_1' }
  const server = await serve((reply) => {
    reply.stream().text('a').frame({ type: 'error', token: 'Claude went silent.', metadata })
    reply.raw.end()
  })
  const onToken = vi.fn()
  const onError = vi.fn()
  const onComplete = vi.fn()
  const manager = new StreamManager({ apiUrl: server.url })
  const error = await failure(manager.streamLLMResponse('Hi', null, onToken, onError, onComplete))
  expect(error).toMatchObject({ message: 'Claude went silent.', name: 'StreamError', ...metadata })
  expect(onToken).toHaveBeenCalledOnce()
  expect(onError.mock.calls).toEqual([[error]])
  expect(onComplete).not.toHaveBeenCalled()
})

test('a clean end without done is a cut, not a success', async () => {
  const server = await serve((reply) => void reply.stream({ 'X-Request-Id': 'req_1' }).text('a').raw.end())
  expect(await ask(server.url)).toMatchObject({ code: 'truncated', retryable: true, requestId: 'req_1' })
})

test('a connection that breaks is an error of the network', async () => {
  const server = await serve((reply) => reply.stream().text('a').reset())
  expect(await ask(server.url)).toMatchObject({ code: 'network_error', retryable: true })
  expect(await ask('http://127.0.0.1:1')).toMatchObject({ code: 'network_error', cause: expect.any(Error) })
})

test('what is no frame is said to be none', async () => {
  const server = await serve((reply) => reply.stream().write('data: {"type":"text","token":\n\n'))
  expect(await ask(server.url)).toMatchObject({ code: 'malformed', retryable: true })
  const page = await serve((reply) => {
    reply.raw.writeHead(200, { 'Content-Type': 'text/html' })
    reply.raw.end('<!doctype html>')
  })
  const error = await ask(page.url)
  expect(error).toMatchObject({ code: 'malformed', retryable: false })
  expect(error.message).toContain('apiUrl')
})

test('a frame without an end is given up', async () => {
  const server = await serve(async (reply, { gone }) => {
    reply.stream().write('data: ')
    const piece = 'x'.repeat(1 << 20)
    for (let n = 0; n < 20; n++) {
      await Promise.race([gone, new Promise<void>((resolve) => reply.raw.write(piece, () => resolve()))])
    }
  })
  expect(await ask(server.url)).toMatchObject({ code: 'malformed', retryable: false })
  await server.asked[0]?.gone
})

test.each([
  [400, { error: 'Message is required', code: 'message_required' }, 'Message is required', false],
  [401, { error: 'No key.', code: 'unauthenticated' }, 'No key.', false],
  [408, { error: 'Too slow.', code: 'request_timeout' }, 'Too slow.', true],
  [502, { error: 'Failed to stream response', message: 'It broke.', code: 'upstream_error' }, 'It broke.', true],
  [502, { error: 'Failed to stream response', code: 'upstream_credential' }, 'Failed to stream response', false],
  [529, { error: 'Failed to stream response', code: 'upstream_overloaded_error' }, 'Failed to stream response', true],
])('%i tells what the gateway said', async (status, body, message, retryable) => {
  const server = await serve((reply) => reply.json(status, { ...body, requestId: 'req_1' }))
  expect(await ask(server.url)).toMatchObject({ status, message, retryable, code: body.code, requestId: 'req_1' })
})

test('429 tells when to come back, from the body where the header is hidden', async () => {
  const body = { error: 'Too many requests', message: 'Later.', code: 'rate_limited', limit: 'tenant', retryAfter: 7 }
  const server = await serve((reply) => reply.json(429, body))
  const expected = { message: 'Later.', code: 'rate_limited', retryable: true, retryAfterMs: 7000, limit: 'tenant' }
  expect(await ask(server.url)).toMatchObject(expected)
})

test('a refusal that no waiting cures says so in its body', async () => {
  const body = { error: 'Too many requests', message: 'Next month.', retryAfter: 9, retryable: false }
  const server = await serve((reply) => reply.json(429, body))
  expect(await ask(server.url)).toMatchObject({ message: 'Next month.', retryable: false })
})

test('headers tell it too', async () => {
  const inTen = new Date(Date.now() + 10_000).toUTCString()
  const server = await serve(
    (reply) => reply.json(429, {}, { 'Retry-After': '3', 'X-Request-Id': 'req_h' }),
    (reply) => reply.json(503, {}, { 'Retry-After': inTen }),
    (reply) => reply.json(503, {}, { 'Retry-After': '0' }),
    (reply) => reply.json(429, {}, { 'X-Should-Retry': 'false' }),
    (reply) => reply.json(400, {}, { 'X-Should-Retry': 'true' }),
  )
  expect(await ask(server.url)).toMatchObject({ retryAfterMs: 3000, requestId: 'req_h', code: 'http_error' })
  const { retryAfterMs = 0 } = await ask(server.url)
  expect(retryAfterMs).toBeGreaterThan(5000)
  expect(retryAfterMs).toBeLessThanOrEqual(10_000)
  expect((await ask(server.url)).retryAfterMs).toBe(0)
  expect(await ask(server.url)).toMatchObject({ retryable: false })
  expect(await ask(server.url)).toMatchObject({ retryable: true })
})

test('bodies that others wrote are understood or left out', async () => {
  const claudes = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' }, request_id: 'req_c' }
  const server = await serve(
    (reply) => reply.json(529, claudes),
    (reply) => reply.json(500, null),
    (reply) => {
      reply.raw.writeHead(502, { 'Content-Type': 'text/html' })
      reply.raw.end('<h1>Bad Gateway</h1>')
    },
  )
  expect(await ask(server.url)).toMatchObject({ message: 'Overloaded', code: 'overloaded_error', requestId: 'req_c' })
  expect(await ask(server.url)).toMatchObject({ code: 'http_error', retryable: true })
  expect((await ask(server.url)).message).toBe('The server answered with status 502.')
})

test("what a caller's own function throws is passed on as it is, and ends the answer", async () => {
  const server = await serve((reply) => reply.stream().text('a'))
  const manager = new StreamManager({ apiUrl: server.url, maxRetries: 3 })
  const ours = new TypeError('ours')
  const thrown = manager.streamLLMResponse('Hi', null, () => {
    throw ours
  })
  await expect(thrown).rejects.toBe(ours)
  await server.asked[0]?.gone
  expect(server.asked).toHaveLength(1)
})

test('outside of a page there is no origin to ask', async () => {
  expect(await failure(streamManager.streamLLMResponse('Hi'))).toMatchObject({
    code: 'invalid_request',
    retryable: false,
  })
})
