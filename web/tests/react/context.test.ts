import { expect, test } from 'vitest'
import { contextOf } from '../../src/react/context'

const turns = (...contents: string[]) =>
  contents.map((content, n) => {
    const role = n % 2 ? ('assistant' as const) : ('user' as const)
    return { id: `${n}`, role, content, timestamp: n }
  })

test('all of a short conversation goes along', () => {
  expect(contextOf(turns('a', 'b', 'c'))).toEqual([
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'b' },
    { role: 'user', content: 'c' },
  ])
})

test('of a long one the end, from a question on', () => {
  expect(contextOf(turns('a', 'b', 'c', 'd'), 3).map(({ content }) => content)).toEqual(['c', 'd'])
  expect(contextOf(turns('a', 'b'.repeat(90), 'c', 'd'), 50, 50).map(({ content }) => content)).toEqual(['c', 'd'])
  expect(contextOf(turns('a', 'b'.repeat(90)), 50, 50)).toEqual([])
})

test('empty answers stay behind: Claude takes none', () => {
  expect(contextOf(turns('a', ' ')).map(({ content }) => content)).toEqual(['a'])
})
