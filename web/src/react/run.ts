// One running answer: what came, when, and how fast.

import type { ChatMetadata, StreamToken } from '../core'
import type { Message, MessageMetadata, StreamMetrics } from './types'

/** Tokens per second below which an answer is slow. */
export const SLOW = 5
// So long there is no saying how fast tokens come.
const BURST = 250
// Slowness is of the latest seconds: an answer may begin well and stall.
const WINDOW = 3000
const ENOUGH = 1000

export class Run {
  readonly controller = new AbortController()
  text = ''
  tokens = 0
  metadata: Partial<ChatMetadata> = {}
  told = false
  /** The request was made; before that, to cancel is to take the question back. */
  sent = false
  /** The conversation as it was, with the question taken back. */
  readonly before: Message[]
  readonly #started = performance.now()
  #first = 0
  #ended?: number
  #recent: number[] = []

  constructor(before: Message[]) {
    this.before = before
  }

  take({ type, token, metadata }: StreamToken): void {
    if (metadata) this.metadata = metadata
    if (type !== 'text') return
    this.text += token
    this.tokens += 1
    const now = performance.now()
    this.#first ||= now
    this.#recent.push(now)
    while ((this.#recent[0] ?? now) < now - WINDOW) this.#recent.shift()
  }

  get timeToFirstToken(): number {
    return this.#first && Math.round(this.#first - this.#started)
  }

  /** The gateway's count where it told one. */
  get tokenCount(): number {
    return this.metadata.usage?.outputTokens ?? this.tokens
  }

  /** Between the first token and now; of what came at once, since the start. */
  get speed(): number {
    const now = this.#now
    if (!this.#first) return 0
    const streaming = now - this.#first > BURST
    return streaming
      ? perSecond(this.tokenCount - 1, now - this.#first)
      : perSecond(this.tokenCount, now - this.#started)
  }

  /** The speed of the latest seconds if that is slow. */
  get slowSpeed(): number | undefined {
    const now = this.#now
    const seen = Math.min(WINDOW, now - this.#first)
    if (!this.#first || seen < ENOUGH) return undefined
    const recent = this.#recent.filter((time) => time > now - seen).length
    const speed = perSecond(recent, seen)
    return speed < SLOW ? speed : undefined
  }

  /** From now on the figures stand still. */
  end(): void {
    this.#ended = performance.now()
  }

  get #now(): number {
    return this.#ended ?? performance.now()
  }

  get metrics(): StreamMetrics {
    return {
      responseLength: this.text.length,
      streamDuration: Math.round(this.#now - this.#started),
      averageSpeed: round(this.speed),
      timeToFirstToken: this.timeToFirstToken,
      tokenCount: this.tokenCount,
    }
  }

  /** The answer as a message; nothing if nothing came. */
  message(id: string, stopReason?: 'cancelled' | 'error'): Message | undefined {
    if (!this.text && stopReason) return undefined
    const { tokenCount, streamDuration: durationMs, averageSpeed: tokensPerSecond, timeToFirstToken } = this.metrics
    const { costUsd, model, requestId } = this.metadata
    const metadata: MessageMetadata = {
      tokenCount,
      durationMs,
      tokensPerSecond,
      timeToFirstTokenMs: timeToFirstToken,
      costUsd: costUsd ?? undefined,
      stopReason: stopReason ?? this.metadata.stopReason ?? undefined,
      model: model ?? undefined,
      requestId,
    }
    return { id, role: 'assistant', content: this.text, timestamp: Date.now(), metadata }
  }
}

function perSecond(count: number, milliseconds: number): number {
  return milliseconds > 0 ? (count * 1000) / milliseconds : 0
}

function round(speed: number): number {
  return Math.round(speed * 10) / 10
}
