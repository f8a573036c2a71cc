// @vitest-environment jsdom

import { cleanup, render } from '@testing-library/react'
import { afterEach, expect, test } from 'vitest'
import { StreamingStats } from '../../src'
import { costOf, timeOf } from '../../src/components/figures'
import { whenOf } from '../../src/components/trouble'

afterEach(cleanup)

const shown = (container: HTMLElement) => [...container.querySelectorAll('dd')].map((value) => value.textContent)

test('what is known is shown, and nothing else', () => {
  const { container, rerender } = render(<StreamingStats streamSpeed={19.96} totalTokens={44} />)
  expect(shown(container)).toEqual(['20.0 tokens/s', '44'])
  rerender(
    <StreamingStats streamSpeed={20} totalTokens={44} timeToFirstToken={271} durationMs={2480} costUsd={0.00066} />,
  )
  expect(shown(container)).toEqual(['20.0 tokens/s', '271 ms', '44', '2.5 sec', '$0.00066'])
})

test.each([
  [0.00066, '$0.00066'],
  [0.0123456, '$0.0123'],
  [1.5, '$1.50'],
  [0, '$0.00'],
])('%d dollars', (usd, words) => expect(costOf(usd, 'en')).toBe(words))

test('times are milliseconds or seconds', () => {
  expect(timeOf(999, 'en')).toBe('999 ms')
  expect(timeOf(1000, 'en')).toBe('1 sec')
})

test.each([
  [19.2, 'in 20 seconds', 'dans 20 secondes'],
  [600, 'in 10 minutes', 'dans 10 minutes'],
])('a wait of %d seconds', (seconds, english, french) => {
  expect(whenOf(seconds, 'en')).toBe(english)
  expect(whenOf(seconds, 'fr')).toBe(french)
})

test('a long wait is told as its end', () => {
  const now = new Date(2026, 10, 24, 9, 30).getTime()
  expect(whenOf(2 * 3600, 'en', now)).toMatch(/^from 11:30\sAM$/)
  expect(whenOf(7 * 86_400, 'fr', now)).toMatch(/^à partir de : mardi 1 décembre à 0?9:30$/)
})
