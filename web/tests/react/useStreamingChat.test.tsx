// @vitest-environment jsdom
// What a component sees of a conversation.

import { act, cleanup, renderHook, waitFor } from '@testing-library/react'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type UseStreamingChatOptions, useStreamingChat } from '../../src/react'
import { type Answer, serve } from '../support/server'

const METADATA = {
  requestId: 'req_1',
  model: 'claude',
  stopReason: 'end_turn',
  costUsd: 0.01,
  usage: { outputTokens: 3 },
}
const good: Answer = (reply) => reply.stream().text('Hel', 'lo').done(METADATA)
const silent: Answer = (reply) => reply.stream().text('a', 'b')

beforeEach(() => sessionStorage.clear())
afterEach(cleanup)

function chat(options: UseStreamingChatOptions = {}) {
  return renderHook((given: UseStreamingChatOptions) => useStreamingChat(given), { initialProps: options })
}

test('it begins with nothing', () => {
  expect(chat().result.current).toEqual({
    messages: [],
    isStreaming: false,
    currentStream: '',
    streamSpeed: 0,
    timeToFirstToken: 0,
    tokenCount: 0,
    error: null,
    sendMessage: expect.any(Function),
    cancelStream: expect.any(Function),
    retryLastMessage: expect.any(Function),
    clearMessages: expect.any(Function),
  })
})

test('a question and its answer become messages', async () => {
  const { url, asked } = await serve(good)
  const told = { onStreamStart: vi.fn(), onStreamEnd: vi.fn(), onToken: vi.fn(), onError: vi.fn() }
  const { result } = chat({ apiUrl: url, systemPrompt: 'Be brief', ...told })
  await act(() => result.current.sendMessage('Hi'))
  const { messages, ...state } = result.current
  expect(state).toMatchObject({ isStreaming: false, currentStream: '', tokenCount: 3, error: null })
  expect(messages).toEqual([
    { id: expect.any(String), role: 'user', content: 'Hi', timestamp: expect.any(Number) },
    {
      id: expect.any(String),
      role: 'assistant',
      content: 'Hello',
      timestamp: expect.any(Number),
      metadata: {
        tokenCount: 3,
        durationMs: expect.any(Number),
        tokensPerSecond: expect.any(Number),
        timeToFirstTokenMs: expect.any(Number),
        costUsd: 0.01,
        stopReason: 'end_turn',
        model: 'claude',
        requestId: 'req_1',
      },
    },
  ])
  expect(messages[0]?.id).not.toBe(messages[1]?.id)
  expect(asked[0]?.body).toMatchObject({ message: 'Hi', systemPrompt: 'Be brief', messages: [] })
  expect(told.onStreamStart).toHaveBeenCalledOnce()
  expect(told.onToken.mock.calls.map(([token]) => token.type)).toEqual(['text', 'text', 'done'])
  expect(told.onError).not.toHaveBeenCalled()
  expect(told.onStreamEnd.mock.calls).toEqual([
    [
      'Hello',
      {
        responseLength: 5,
        streamDuration: messages[1]?.metadata?.durationMs,
        averageSpeed: messages[1]?.metadata?.tokensPerSecond,
        timeToFirstToken: messages[1]?.metadata?.timeToFirstTokenMs,
        tokenCount: 3,
      },
    ],
  ])
})

test('the answer can be seen coming', async () => {
  const { url } = await serve(silent)
  const { result } = chat({ apiUrl: url })
  act(() => void result.current.sendMessage('Hi'))
  expect(result.current).toMatchObject({ isStreaming: true, messages: [{ content: 'Hi' }] })
  await waitFor(() => expect(result.current.currentStream).toBe('ab'))
  expect(result.current).toMatchObject({ isStreaming: true, tokenCount: 2, messages: [{ role: 'user' }] })
  expect(result.current.timeToFirstToken).toBeGreaterThan(0)
  expect(result.current.streamSpeed).toBeGreaterThan(0)
})

test('the conversation goes along, within bounds, and begins with the user', async () => {
  const { url, asked } = await serve(good)
  const { result } = chat({ apiUrl: url, maxContextMessages: 3 })
  for (const question of ['1', '2', '3']) await act(() => result.current.sendMessage(question))
  const answer = { role: 'assistant', content: 'Hello' }
  expect(asked[1]?.body.messages).toEqual([{ role: 'user', content: '1' }, answer])
  expect(asked[2]?.body.messages).toEqual([{ role: 'user', content: '2' }, answer])
  expect(asked[2]?.body.message).toBe('3')
  expect(result.current.messages).toHaveLength(6)
})

test('options are those of the last render', async () => {
  const { url, asked } = await serve(good)
  const first = vi.fn()
  const last = vi.fn()
  const { result, rerender } = chat({ apiUrl: 'http://127.0.0.1:1', onStreamEnd: first })
  const { sendMessage } = result.current
  rerender({ apiUrl: url, systemPrompt: 'New', getToken: () => 'key', model: 'claude-haiku-5', onStreamEnd: last })
  expect(result.current.sendMessage).toBe(sendMessage)
  await act(() => sendMessage('Hi'))
  expect(asked[0]?.body).toMatchObject({ systemPrompt: 'New', model: 'claude-haiku-5' })
  expect(asked[0]?.headers.authorization).toBe('Bearer key')
  expect(first).not.toHaveBeenCalled()
  expect(last).toHaveBeenCalledOnce()
})

test('one answer at a time, and none for a blank', async () => {
  const { url, asked } = await serve(good)
  const { result } = chat({ apiUrl: url })
  await act(async () => {
    await Promise.all([result.current.sendMessage('Hi'), result.current.sendMessage('Hi')])
    await result.current.sendMessage('  \n')
  })
  expect(asked).toHaveLength(1)
  expect(result.current.messages).toHaveLength(2)
})

test('what came of a cancelled answer stays, and the next question follows it', async () => {
  const { url, asked } = await serve(silent, good)
  const onError = vi.fn()
  const onStreamEnd = vi.fn()
  const { result } = chat({ apiUrl: url, onError, onStreamEnd })
  act(() => void result.current.sendMessage('Hi'))
  await waitFor(() => expect(result.current.currentStream).toBe('ab'))
  act(() => result.current.cancelStream())
  expect(result.current).toMatchObject({ isStreaming: false, currentStream: '', error: null })
  expect(result.current.messages[1]).toMatchObject({
    content: 'ab',
    metadata: { stopReason: 'cancelled', tokenCount: 2 },
  })
  await asked[0]?.gone
  await act(() => result.current.sendMessage('Go on'))
  expect(asked[1]?.body.messages.at(-1)).toEqual({ role: 'assistant', content: 'ab' })
  expect(result.current.messages.map(({ content }) => content)).toEqual(['Hi', 'ab', 'Go on', 'Hello'])
  expect([onError.mock.calls.length, onStreamEnd.mock.calls.length]).toEqual([0, 1])
})

test('a failure is told, and the question can be asked again', async () => {
  const cut: Answer = (reply) => void reply.stream().text('Hal').raw.end()
  const refused: Answer = (reply) =>
    reply.json(429, { error: 'Too many requests', code: 'rate_limited', retryAfter: 3 })
  const { url, asked } = await serve(good, cut, refused, good)
  const onError = vi.fn()
  const { result } = chat({ apiUrl: url, onError })
  await act(() => result.current.retryLastMessage())
  expect(asked).toHaveLength(0)
  await act(() => result.current.sendMessage('One'))
  await act(() => result.current.sendMessage('Two'))
  expect(result.current).toMatchObject({ isStreaming: false, error: { code: 'truncated' } })
  expect(result.current.messages[3]).toMatchObject({ content: 'Hal', metadata: { stopReason: 'error' } })
  await act(() => result.current.retryLastMessage())
  expect(result.current.error).toMatchObject({ code: 'rate_limited', retryAfterMs: 3000 })
  expect(result.current.messages).toHaveLength(3)
  await act(() => result.current.retryLastMessage())
  expect(result.current.error).toBeNull()
  expect(result.current.messages.map(({ content }) => content)).toEqual(['One', 'Hello', 'Two', 'Hello'])
  expect(asked[3]?.body).toEqual({ ...asked[1]?.body })
  expect(asked[3]?.body).toMatchObject({ message: 'Two', messages: [{ content: 'One' }, { content: 'Hello' }] })
  expect(onError).toHaveBeenCalledTimes(2)
})

test('clearing stops the answer and forgets', async () => {
  const { url, asked } = await serve(silent)
  const { result } = chat({ apiUrl: url, persist: true })
  act(() => void result.current.sendMessage('Hi'))
  await waitFor(() => expect(result.current.currentStream).toBe('ab'))
  act(() => result.current.clearMessages())
  expect(result.current).toMatchObject({ messages: [], isStreaming: false, currentStream: '', tokenCount: 0 })
  expect(sessionStorage).toHaveLength(0)
  await asked[0]?.gone
})

test('going away stops the answer', async () => {
  const { url, asked } = await serve(silent)
  const { result, unmount } = chat({ apiUrl: url })
  act(() => void result.current.sendMessage('Hi'))
  await waitFor(() => expect(result.current.currentStream).toBe('ab'))
  unmount()
  await asked[0]?.gone
})

test('the history is there after a reload, with what had come', async () => {
  const { url } = await serve(good, silent)
  const { result, unmount } = chat({ apiUrl: url, persist: 'support' })
  await act(() => result.current.sendMessage('Hi'))
  act(() => void result.current.sendMessage('More'))
  await waitFor(() => expect(result.current.currentStream).toBe('ab'))
  window.dispatchEvent(new Event('pagehide'))
  const reloaded = chat({ persist: 'support' }).result.current
  expect(reloaded.messages.map(({ content }) => content)).toEqual(['Hi', 'Hello', 'More', 'ab'])
  expect(reloaded.isStreaming).toBe(false)
  expect(chat({ persist: true }).result.current.messages).toEqual([])
  expect(chat().result.current.messages).toEqual([])
  unmount()
})

test('a history that is none is left aside', () => {
  for (const junk of ['{', '{"a":1}', '[1,null,{"id":"x"}]']) {
    sessionStorage.setItem('tokenweir-chat', junk)
    expect(chat({ persist: true }).result.current.messages).toEqual([])
  }
})

test('a slow answer is told of once', async () => {
  const slow: Answer = async (reply, { gone }) => {
    reply.stream().text('a')
    const timer = setInterval(() => reply.text('b'), 500)
    await gone
    clearInterval(timer)
  }
  const { url } = await serve(slow)
  const onSlow = vi.fn()
  const { result } = chat({ apiUrl: url, onSlow })
  act(() => void result.current.sendMessage('Hi'))
  await waitFor(() => expect(onSlow).toHaveBeenCalled(), { timeout: 5000 })
  await waitFor(() => expect(result.current.tokenCount).toBeGreaterThan(5), { timeout: 5000 })
  expect(onSlow).toHaveBeenCalledOnce()
  expect(onSlow.mock.calls[0]?.[0]).toBeLessThan(5)
})
