// What a caller of StreamManager sees of a good answer, and what the server sees of the caller.

import { expect, test, vi } from 'vitest'
import { StreamManager, type StreamToken, streamManager } from '../../src/core'
import { serve } from '../support/server'

const METADATA = { requestId: 'req_1', stopReason: 'end_turn', usage: { outputTokens: 2 }, costUsd: 0.1 }

test('an answer arrives piece by piece, and whole', async () => {
  const server = await serve((reply) => reply.stream().text('Hel', 'lo').done(METADATA))
  const tokens: StreamToken[] = []
  const onError = vi.fn()
  const onComplete = vi.fn()
  const manager = new StreamManager({ apiUrl: server.url })
  const text = await manager.streamLLMResponse('Hi', 'Be brief', (token) => tokens.push(token), onError, onComplete)
  expect(text).toBe('Hello')
  const timestamp = expect.any(Number)
  expect(tokens).toEqual([
    { type: 'text', token: 'Hel', timestamp },
    { type: 'text', token: 'lo', timestamp },
    { type: 'done', token: '', timestamp, metadata: METADATA },
  ])
  expect(onComplete.mock.calls).toEqual([['Hello', METADATA]])
  expect(onError).not.toHaveBeenCalled()
})

test('tokens are handed over when they come, not at the end', async () => {
  let next = () => {}
  const server = await serve(async (reply) => {
    reply.stream().text('one')
    await new Promise<void>((resolve) => {
      next = resolve
    })
    reply.done()
  })
  const manager = new StreamManager({ apiUrl: server.url })
  // The server ends only once the first token was handed over.
  expect(await manager.streamLLMResponse('Hi', undefined, () => next())).toBe('one')
})

test('the request is what the gateway documents', async () => {
  const server = await serve((reply) => reply.stream().done())
  const manager = new StreamManager({ apiUrl: server.url, headers: { 'X-App': 'shop' } })
  await manager.streamLLMResponse('Hi')
  const messages = [{ role: 'user' as const, content: 'Before' }]
  const options = { messages, model: 'claude-haiku-5', maxTokens: 5, metadata: { userId: 'u1' } }
  await manager.streamLLMResponse('Hi', 'Be brief', undefined, undefined, undefined, options)
  const [plain, full] = server.asked
  expect([plain?.method, plain?.url, plain?.body]).toEqual(['POST', '/api/chat/stream', { message: 'Hi' }])
  expect(plain?.headers).toMatchObject({
    'content-type': 'application/json',
    accept: 'text/event-stream',
    'x-app': 'shop',
  })
  expect(plain?.headers.authorization).toBeUndefined()
  expect(full?.body).toEqual({ message: 'Hi', systemPrompt: 'Be brief', ...options })
})

test('passages go as context, for the gateway to make the prompt of', async () => {
  const server = await serve((reply) => reply.stream().text('Oui').done())
  const manager = new StreamManager({ apiUrl: server.url })
  const onComplete = vi.fn()
  expect(await manager.streamWithRAG('When?', ['From nine'], 'fr', undefined, undefined, onComplete)).toBe('Oui')
  await manager.streamWithRAG('When?', 'From nine')
  const [french, plain] = server.asked
  expect(french?.body).toEqual({ message: 'When?', context: ['From nine'], language: 'fr' })
  expect(plain?.body).toEqual({ message: 'When?', context: 'From nine' })
  expect(onComplete).toHaveBeenCalledWith('Oui', {})
})

test.each([
  ['', '/api/chat/stream'],
  ['/', '/api/chat/stream'],
  ['/gateway/', '/gateway/api/chat/stream'],
  ['/api/chat/stream', '/api/chat/stream'],
  ['/my/stream?app=1', '/my/stream?app=1'],
])('apiUrl may be a base or the endpoint: %s', async (path, asked) => {
  const server = await serve((reply) => reply.stream().done())
  await new StreamManager({ apiUrl: server.url + path }).streamLLMResponse('Hi')
  expect(server.asked[0]?.url).toBe(asked)
})

test('without an apiUrl it is VITE_API_URL', async () => {
  const server = await serve((reply) => reply.stream().text('Hi').done())
  vi.stubEnv('VITE_API_URL', server.url)
  expect(await streamManager.streamLLMResponse('Hi')).toBe('Hi')
  vi.unstubAllEnvs()
})

test('a token is asked for anew for each request', async () => {
  const server = await serve((reply) => reply.stream().done())
  let count = 0
  const manager = new StreamManager({ apiUrl: server.url, getToken: async () => `key-${++count}` })
  await manager.streamLLMResponse('Hi')
  await manager.streamLLMResponse('Hi')
  expect(server.asked.map(({ headers }) => headers.authorization)).toEqual(['Bearer key-1', 'Bearer key-2'])
})

test('characters and lines may be cut anywhere', async () => {
  const frames = '{"type":"text","token":"你好 👋","timestamp":1}'
  const bytes = new TextEncoder().encode(`: comment\r\nid: 7\r\ndata: ${frames}\r\n\r\ndata:${frames}\n\n`)
  const server = await serve(async (reply) => {
    reply.stream()
    for (const byte of bytes) {
      await new Promise<void>((resolve) => reply.raw.write(Uint8Array.of(byte), () => resolve()))
    }
    reply.done()
  })
  expect(await new StreamManager({ apiUrl: server.url }).streamLLMResponse('Hi')).toBe('你好 👋你好 👋')
})

test('types that are not known yet, and what follows done, are ignored', async () => {
  const server = await serve((reply) => {
    reply.stream().frame({ type: 'tool', token: '?' }).frame({ type: 'thinking', token: 'hm' }).text('a')
    reply.frame({ type: 'done', token: '' }).text('b').done()
  })
  const types: string[] = []
  const manager = new StreamManager({ apiUrl: server.url })
  expect(await manager.streamLLMResponse('Hi', null, ({ type }) => types.push(type))).toBe('a')
  expect(types).toEqual(['thinking', 'text', 'done'])
})

test('answers that run side by side do not mix', async () => {
  const server = await serve(async (reply, { body }) => {
    reply.stream()
    for (let n = 0; n < 20; n++) {
      reply.text(body.message)
      await new Promise((resolve) => setImmediate(resolve))
    }
    reply.done()
  })
  const manager = new StreamManager({ apiUrl: server.url })
  const answers = await Promise.all(['a', 'b', 'c'].map((letter) => manager.streamLLMResponse(letter)))
  expect(answers).toEqual(['a', 'b', 'c'].map((letter) => letter.repeat(20)))
})

test('one connection serves answers that follow each other', async () => {
  const server = await serve((reply) => reply.stream().done())
  const manager = new StreamManager({ apiUrl: server.url })
  for (let n = 0; n < 5; n++) {
    await manager.streamLLMResponse('Hi')
    // The body's end is a packet of its own, and nobody waits for it.
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  expect(server.connections).toBeLessThan(3)
})

test('done is the end, though the body stays open', async () => {
  const server = await serve((reply) => reply.stream().text('a').frame({ type: 'done', token: '' }))
  const manager = new StreamManager({ apiUrl: server.url })
  expect(await manager.streamLLMResponse('Hi')).toBe('a')
  await server.asked[0]?.gone
})

test('a fetch of its own is called as a function', async () => {
  const own = vi.fn(async function (this: unknown, ..._: Parameters<typeof fetch>) {
    expect(this).toBeUndefined()
    return new Response('data: {"type":"text","token":"a"}\n\ndata: {"type":"done","token":""}\n\n')
  })
  expect(await new StreamManager({ apiUrl: 'http://nowhere', fetch: own }).streamLLMResponse('Hi')).toBe('a')
  expect(own.mock.calls[0]?.[0]).toBe('http://nowhere/api/chat/stream')
})

test('the speed is tokens per second since then', () => {
  const manager = new StreamManager()
  expect(manager.calculateSpeed(40, Date.now() - 2000)).toBeCloseTo(20, 0)
  expect(manager.calculateSpeed(40, Date.now() + 1000)).toBe(0)
})
