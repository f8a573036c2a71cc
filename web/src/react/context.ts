import type { ChatTurn } from '../core'
import type { Message } from './types'

/** The conversation as far as it goes along: its latest turns within both bounds, beginning with the user's. */
export function contextOf(messages: readonly Message[], maxMessages = 50, maxLength = 200_000): ChatTurn[] {
  const turns: ChatTurn[] = []
  let length = 0
  for (const { role, content } of [...messages].reverse()) {
    length += content.length
    if (turns.length >= maxMessages || length > maxLength) break
    if (content.trim()) turns.unshift({ role, content })
  }
  const first = turns.findIndex(({ role }) => role === 'user')
  return first < 0 ? [] : turns.slice(first)
}
