// @vitest-environment jsdom
// Strict Mode mounts everything twice; and rendering keeps up with any speed.

import { act, cleanup, render, renderHook, waitFor } from '@testing-library/react'
import { StrictMode, useEffect } from 'react'
import { createRoot } from 'react-dom/client'
import { renderToString } from 'react-dom/server'
import { afterEach, expect, test, vi } from 'vitest'
import { type ChatHandle, useStreamingChat } from '../../src/react'
import { serve } from '../support/server'

afterEach(cleanup)

test('one message, one request, one answer', async () => {
  const { url, asked } = await serve((reply) => reply.stream().text('Hello').done())
  const { result } = renderHook(() => useStreamingChat({ apiUrl: url }), { wrapper: StrictMode })
  await act(() => result.current.sendMessage('Hi'))
  expect(result.current.messages.map(({ content }) => content)).toEqual(['Hi', 'Hello'])
  expect(asked).toHaveLength(1)
})

test('a question that an effect asks is asked once', async () => {
  const { url, asked } = await serve((reply) => reply.stream().text('Hello').done())
  const onStreamStart = vi.fn()
  let chat: ChatHandle | undefined
  function Greeting() {
    const current = useStreamingChat({ apiUrl: url, onStreamStart })
    const { sendMessage } = current
    useEffect(() => {
      chat = current
    })
    useEffect(() => void sendMessage('Hi'), [sendMessage])
    return null
  }
  render(<Greeting />, { wrapper: StrictMode })
  await waitFor(() => expect(chat?.messages.map(({ content }) => content)).toEqual(['Hi', 'Hello']))
  expect(asked).toHaveLength(1)
  expect(onStreamStart).toHaveBeenCalledOnce()
})

test('going away stops the answer under Strict Mode too', async () => {
  const { url, asked } = await serve((reply) => reply.stream().text('a'))
  const { result, unmount } = renderHook(() => useStreamingChat({ apiUrl: url }), { wrapper: StrictMode })
  act(() => void result.current.sendMessage('Hi'))
  await waitFor(() => expect(result.current.currentStream).toBe('a'))
  unmount()
  await asked[0]?.gone
})

test('a frame renders once, however many tokens came in it', async () => {
  const tokens = 2000
  const { url } = await serve(async (reply) => {
    reply.stream()
    for (let n = 0; n < tokens; n++) {
      reply.text('x')
      if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    reply.done()
  })
  let renders = 0
  let frames = 0
  let chat: ChatHandle | undefined
  const count = () => {
    frames += 1
    requestAnimationFrame(count)
  }
  requestAnimationFrame(count)
  const asked = vi.spyOn(globalThis, 'requestAnimationFrame')
  function Page() {
    renders += 1
    const current = useStreamingChat({ apiUrl: url })
    useEffect(() => {
      chat = current
    })
    return null
  }
  // As on a page: act() would keep all renders back until its end.
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', false)
  const root = createRoot(document.createElement('div'))
  root.render(<Page />)
  await vi.waitFor(() => expect(chat).toBeDefined())
  await chat?.sendMessage('Hi')
  await vi.waitFor(() => expect(chat?.messages[1]?.content).toHaveLength(tokens))
  root.unmount()
  vi.unstubAllGlobals()
  // One by the counter and one by the chat for each: jsdom, unlike a browser, would render once for several as well.
  expect(asked.mock.calls.length).toBeLessThanOrEqual(2 * frames + 1)
  // Mounted, asked, ended.
  expect(renders).toBeLessThanOrEqual(frames + 3)
  expect(renders).toBeLessThan(tokens / 4)
})

test('it renders on a server, where nothing is stored', () => {
  const Page = () => <p>{useStreamingChat({ persist: true }).messages.length}</p>
  expect(renderToString(<Page />)).toBe('<p>0</p>')
})
