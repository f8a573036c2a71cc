// The conversation in sessionStorage: one tab's own, gone with it. A storage that is full or forbidden is no error.

import type { Message } from './types'

// More would fill the 5 MB that an origin has.
const MOST = 200

export class History {
  readonly #key?: string

  constructor(persist?: boolean | string) {
    if (persist) this.#key = persist === true ? 'tokenweir-chat' : `tokenweir-chat:${persist}`
  }

  load(): Message[] {
    if (!this.#key) return []
    try {
      const found: unknown = JSON.parse(sessionStorage.getItem(this.#key) ?? '[]')
      return Array.isArray(found) ? found.filter(isMessage) : []
    } catch {
      return []
    }
  }

  save(messages: readonly Message[]): void {
    if (!this.#key) return
    try {
      if (messages.length) sessionStorage.setItem(this.#key, JSON.stringify(messages.slice(-MOST)))
      else sessionStorage.removeItem(this.#key)
    } catch {
      // The page goes on without it.
    }
  }
}

function isMessage(value: unknown): value is Message {
  const { id, role, content, timestamp } = Object(value)
  const known = role === 'user' || role === 'assistant'
  return known && typeof id === 'string' && typeof content === 'string' && typeof timestamp === 'number'
}
