// @vitest-environment jsdom
// The chat as its user has it: what is typed, seen and announced.

import { cleanup, fireEvent, render, screen, waitFor, within } from '@testing-library/react'
import { afterEach, expect, test, vi } from 'vitest'
import { StreamingChat, type StreamingChatProps } from '../../src'
import { type Answer, serve } from '../support/server'

afterEach(() => {
  cleanup()
  sessionStorage.clear()
  document.documentElement.lang = ''
})

async function chat(props: StreamingChatProps, ...answers: Answer[]) {
  const server = await serve(...answers)
  const view = render(<StreamingChat apiUrl={server.url} {...props} />)
  return { ...view, ...server }
}

function ask(text: string) {
  const box = screen.getByRole('textbox')
  fireEvent.change(box, { target: { value: text } })
  fireEvent.keyDown(box, { key: 'Enter' })
}

const cursor = () => document.querySelector('.blinking-cursor')
const live = () => document.querySelector('.streaming-text')

test('a question gets its answer and figures, and the cursor is there only meanwhile', async () => {
  let finish = () => {}
  const { asked } = await chat({ systemPrompt: 'Be kind.' }, (reply) => {
    reply.stream().text('Hello **you')
    finish = () => reply.text('**').done({ usage: { outputTokens: 1234 }, costUsd: 0.00123, stopReason: 'end_turn' })
  })
  expect(cursor()).toBeNull()
  ask('Hi')
  expect(cursor()).not.toBeNull()
  await waitFor(() => expect(live()?.textContent).toBe('Hello you'))
  // An unfinished marker is shown as what it is going to be.
  expect(live()?.querySelector('strong')?.textContent).toBe('you')
  expect(screen.getByRole('textbox')).toHaveProperty('value', '')
  finish()
  await waitFor(() => expect(cursor()).toBeNull())
  expect(screen.getByRole('article', { name: 'You' }).textContent).toBe('Hi')
  const answer = screen.getByRole('article', { name: 'Assistant' })
  expect(answer.textContent).toContain('Hello you')
  expect(answer.querySelector('strong')?.textContent).toBe('you')
  expect(within(answer).getByText('1,234')).toBeDefined()
  expect(within(answer).getByText('$0.00123')).toBeDefined()
  expect(asked[0]?.body).toMatchObject({ message: 'Hi', systemPrompt: 'Be kind.' })
})

test('Enter sends, Shift+Enter and an input method’s Enter do not, nor does a blank text', async () => {
  const { asked } = await chat({}, (reply) => reply.stream().text('a').done())
  const box = screen.getByRole('textbox')
  expect(screen.getByRole('button', { name: 'Send' })).toHaveProperty('disabled', true)
  ask('   ')
  fireEvent.change(box, { target: { value: 'Hi' } })
  fireEvent.keyDown(box, { key: 'Enter', shiftKey: true })
  fireEvent.keyDown(box, { key: 'Enter', isComposing: true })
  expect(screen.queryByRole('article')).toBeNull()
  fireEvent.click(screen.getByRole('button', { name: 'Send' }))
  await screen.findByText('a')
  expect(asked.map(({ body }) => body.message)).toEqual(['Hi'])
})

test.each([
  ['Escape', () => fireEvent.keyDown(screen.getByRole('textbox'), { key: 'Escape' })],
  ['the button', () => fireEvent.click(screen.getByRole('button', { name: 'Stop' }))],
])('%s stops the answer, which is kept and marked', async (_, stop) => {
  const { asked } = await chat({}, (reply) => reply.stream().text('Half'))
  ask('Hi')
  await waitFor(() => expect(live()?.textContent).toBe('Half'))
  stop()
  await asked[0]?.gone
  expect(screen.getByRole('article', { name: 'Assistant' }).textContent).toContain('Half')
  expect(screen.getByText('Stopped')).toBeDefined()
  expect(screen.queryByRole('alert')).toBeNull()
})

test('a reached quota says when to come back, and not before can it be tried again', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] })
  const refused: Answer = (reply) =>
    reply.json(
      429,
      { error: 'rate_limit_error', message: 'Too many requests', retryAfter: 20 },
      { 'Retry-After': '20' },
    )
  await chat({}, refused, (reply) => reply.stream().text('Hello').done())
  ask('Hi')
  const alert = await screen.findByRole('alert')
  expect(alert.textContent).toBe('You have reached the limit of what you can ask for now.')
  expect(screen.getByText('Try again in 20 seconds.')).toBeDefined()
  const retry = screen.getByRole('button', { name: 'Try again' })
  expect(retry).toHaveProperty('disabled', true)
  await vi.advanceTimersByTimeAsync(20_000)
  vi.useRealTimers()
  await waitFor(() => expect(retry).toHaveProperty('disabled', false))
  fireEvent.click(retry)
  await screen.findByText('Hello')
  expect(screen.queryByRole('alert')).toBeNull()
  expect(screen.getAllByRole('article', { name: 'You' })).toHaveLength(1)
})

test.each([
  [401, 'You are not signed in, or not allowed to use this assistant.', false],
  [400, 'The assistant could not accept this message. temperature must be at most 1', false],
  [413, 'This message or conversation is too long. Shorten it, or start a new conversation.', false],
  [503, 'The assistant is very busy right now.', true],
  [500, 'Something went wrong.', true],
])('status %i is told in words', async (status, words, again) => {
  await chat({}, (reply) => reply.json(status, { error: 'x', message: 'temperature must be at most 1' }))
  ask('Hi')
  expect((await screen.findByRole('alert')).textContent).toBe(words)
  expect(screen.queryByRole('button', { name: 'Try again' }) !== null).toBe(again)
})

test('what came of a broken answer stays, marked, until it is tried again', async () => {
  await chat(
    {},
    (reply) => reply.stream().text('Half').reset(),
    (reply) => reply.stream().text('Whole').done(),
  )
  ask('Hi')
  await screen.findByRole('alert')
  expect(screen.getByText('Incomplete')).toBeDefined()
  fireEvent.click(screen.getByRole('button', { name: 'Try again' }))
  await screen.findByText('Whole')
  expect(screen.queryByText('Half')).toBeNull()
})

test('an answer can bring no script, no address that runs one, and no picture from elsewhere', async () => {
  const attack =
    'Hi <script>alert(1)</script><img src=x onerror=alert(1)> <iframe src="https://x.example"></iframe>\n\n' +
    '[one](javascript:alert(1)) [two](data:text/html,x) [three](https://ok.example/)\n\n![seen](https://spy.example/p.png)'
  const { container } = await chat({}, (reply) => reply.stream().text(attack).done())
  ask('Hi')
  await screen.findByRole('article', { name: 'Assistant' })
  await screen.findByText('three')
  expect(container.querySelector('script, img, iframe, style, [onerror]')).toBeNull()
  const addresses = [...container.querySelectorAll('a')].map((link) => link.getAttribute('href'))
  expect(addresses.filter((address) => address && !/^https:\/\/(ok|spy)\.example\//.test(address))).toEqual([])
  expect(screen.getByText('three').getAttribute('rel')).toContain('noopener')
})

test('code can be copied as it is', async () => {
  const writeText = vi.fn(async () => {})
  Object.defineProperty(navigator, 'clipboard', { value: { writeText }, configurable: true })
  await chat({}, (reply) => reply.stream().text('```py\nprint("a  b")\n\nx = 1\n```').done())
  ask('Hi')
  fireEvent.click(await screen.findByRole('button', { name: 'Copy' }))
  await screen.findByRole('button', { name: 'Copied' })
  expect(writeText).toHaveBeenCalledWith('print("a  b")\n\nx = 1\n')
})

test('the page’s language, then the asked one, then own words', async () => {
  document.documentElement.lang = 'fr-CA'
  const { rerender } = await chat({})
  expect(screen.getByPlaceholderText('Posez votre question...')).toBeDefined()
  expect(screen.getByRole('button', { name: 'Envoyer' })).toBeDefined()
  rerender(<StreamingChat locale="en" texts={{ send: 'Ask' }} placeholder="Your turn" />)
  expect(screen.getByPlaceholderText('Your turn')).toBeDefined()
  expect(screen.getByRole('button', { name: 'Ask' })).toBeDefined()
})

test('renderStream replaces the live text', async () => {
  await chat({ renderStream: (text) => <mark>{text.toUpperCase()}</mark> }, (reply) => reply.stream().text('a', 'b'))
  ask('Hi')
  await waitFor(() => expect(live()?.querySelector('mark')?.textContent).toBe('AB'))
})

test.each([
  [true, [0, 20, 40]],
  [50, [0, 50, 100]],
])('words that come at once fade in one after the other (%s)', async (animateTokens, wanted) => {
  await chat({ animateTokens }, (reply) => reply.stream().text('one two three'))
  ask('Hi')
  await waitFor(() => expect(live()?.querySelectorAll('.animate-fade-in')).toHaveLength(3))
  const words = [...document.querySelectorAll<HTMLElement>('.animate-fade-in')]
  // They came together; what was spent on the way counts as waited.
  const delays = words.map((word) => Number.parseInt(word.style.animationDelay, 10))
  for (const [index, delay] of delays.entries()) expect(delay).toBeLessThanOrEqual(wanted[index] ?? 0)
  expect((delays[2] ?? 0) - (delays[1] ?? 0)).toBe(Math.min(delays[2] ?? 0, wanted[1] ?? 0))
  expect(words.map((word) => word.textContent).join('')).toBe('one two three')
})

test('a conversation that persists is there again, and can be cleared', async () => {
  const { unmount, url } = await chat({ persist: true }, (reply) => reply.stream().text('Hello').done())
  ask('Hi')
  await screen.findByText('Hello')
  await waitFor(() => expect(cursor()).toBeNull())
  unmount()
  render(<StreamingChat apiUrl={url} persist />)
  expect(screen.getByText('Hello')).toBeDefined()
  fireEvent.click(screen.getByRole('button', { name: 'New conversation' }))
  expect(screen.queryByRole('article')).toBeNull()
  expect(screen.getByText('How can I help you?')).toBeDefined()
})

test('screen readers are told that an answer is coming and that it is whole, not its tokens', async () => {
  let finish = () => {}
  await chat({}, (reply) => {
    reply.stream().text('Hello')
    finish = () => reply.done()
  })
  const told = () => document.querySelector('[aria-live="polite"]')?.textContent
  ask('Hi')
  expect(told()).toBe('Waiting for the first word')
  await waitFor(() => expect(live()?.textContent).toBe('Hello'))
  expect(screen.getByRole('log').getAttribute('aria-live')).toBe('off')
  finish()
  await waitFor(() => expect(told()).toBe('The answer is complete.'))
})
