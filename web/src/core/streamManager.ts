// One answer: at most `maxRetries + 1` requests, all within `timeout`.
// - A request is tried again only as long as no frame of an answer was handed over, and only where that can help.
// - The promise rejects with every error; `onError` gets it first, unless the caller cancelled.
// - Nothing is global but `fetch`, timers and AbortController: browsers, Node 20, Deno, Bun, workers.

import { readAnswer } from './answer'
import { Deadline } from './deadline'
import { endpointOf } from './endpoint'
import { lost, StreamError } from './errors'
import { refusal } from './refusal'
import type {
  CompleteHandler,
  ErrorHandler,
  StreamManagerOptions,
  StreamOptions,
  StreamToken,
  TokenHandler,
} from './types'

const MINUTE = 60_000
const FIRST_DELAY = 500
const LONGEST_DELAY = 8000

export class StreamManager {
  readonly #options: StreamManagerOptions
  #sent: number[] = []

  constructor(options: StreamManagerOptions = {}) {
    this.#options = options
  }

  /**
   * Ask, and get the answer piece by piece.
   *
   * @returns The whole text. Rejects with a {@link StreamError} when there is none.
   */
  streamLLMResponse(
    prompt: string,
    systemPrompt?: string | null,
    onToken?: TokenHandler | null,
    onError?: ErrorHandler | null,
    onComplete?: CompleteHandler | null,
    { signal, ...options }: StreamOptions = {},
  ): Promise<string> {
    const body = { ...options, message: prompt || undefined, systemPrompt: systemPrompt || undefined }
    return this.#ask(body, onToken, onError, onComplete, signal)
  }

  /**
   * Ask for an answer from passages; the gateway's `[chat] rag_template` makes the system prompt of them.
   *
   * @param language - Of the answer; the gateway's `[chat] default_language` unless given.
   */
  streamWithRAG(
    query: string,
    context: string | string[],
    language?: string | null,
    onToken?: TokenHandler | null,
    onError?: ErrorHandler | null,
    onComplete?: CompleteHandler | null,
    options?: StreamOptions,
  ): Promise<string> {
    const passages = { context, language: language || undefined }
    return this.streamLLMResponse(query, null, onToken, onError, onComplete, { ...options, ...passages })
  }

  /** Tokens per second since `startTimeMs` (as `Date.now()` gives it). */
  calculateSpeed(tokenCount: number, startTimeMs: number): number {
    const seconds = (Date.now() - startTimeMs) / 1000
    return seconds > 0 ? tokenCount / seconds : 0
  }

  async #ask(
    body: object,
    onToken?: TokenHandler | null,
    onError?: ErrorHandler | null,
    onComplete?: CompleteHandler | null,
    signal?: AbortSignal,
  ): Promise<string> {
    const { timeout = MINUTE, idleTimeout = MINUTE / 2 } = this.#options
    const deadline = new Deadline(timeout, idleTimeout, signal)
    try {
      const { text, metadata } = await this.#answer(JSON.stringify(body), deadline, onToken)
      onComplete?.(text, metadata)
      return text
    } catch (error) {
      if ((error as StreamError).code !== 'aborted') onError?.(error as Error)
      throw error
    } finally {
      deadline.end()
    }
  }

  async #answer(body: string, deadline: Deadline, onToken?: TokenHandler | null) {
    const { maxRetries = 0, maxRetryDelay = MINUTE / 2 } = this.#options
    let begun = false
    const noted = (token: StreamToken) => {
      begun = true
      onToken?.(token)
    }
    for (let attempt = 0; ; attempt++) {
      try {
        deadline.signal.throwIfAborted()
        this.#admit()
        return await readAnswer(await this.#request(body, deadline), deadline, noted)
      } catch (caught) {
        // What ended the request, rather than what that made of `fetch`.
        deadline.signal.throwIfAborted()
        const { code, retryable, retryAfterMs = 0 } = caught as StreamError
        const delay = Math.max(retryAfterMs, backoff(attempt))
        const hopeless = !retryable || code === 'client_rate_limited' || delay > maxRetryDelay
        if (hopeless || begun || attempt >= maxRetries) throw caught
        await deadline.sleep(delay)
      }
    }
  }

  async #request(body: string, deadline: Deadline): Promise<Response> {
    const { getToken, fetch: own } = this.#options
    const headers = new Headers(this.#options.headers)
    headers.set('content-type', 'application/json')
    headers.set('accept', 'text/event-stream')
    deadline.touch()
    const token = getToken && (await deadline.race(Promise.resolve(getToken())))
    if (token) headers.set('authorization', `Bearer ${token}`)
    const { signal } = deadline
    const request = { method: 'POST', headers, body, signal }
    // As a plain function: browsers refuse a `fetch` that is called as a method.
    const response = await deadline.race((own ?? fetch)(endpointOf(this.#options.apiUrl), request).catch(lost))
    deadline.touch()
    if (!response.ok) throw await deadline.race(refusal(response))
    return response
  }

  /** Of a sliding minute, by this manager's own clock. */
  #admit(): void {
    const { maxRequestsPerMinute } = this.#options
    if (!maxRequestsPerMinute) return
    const now = Date.now()
    this.#sent = this.#sent.filter((time) => now - time < MINUTE)
    const oldest = this.#sent[this.#sent.length - maxRequestsPerMinute]
    if (oldest !== undefined) {
      const retryAfterMs = oldest + MINUTE - now
      throw new StreamError('client_rate_limited', 'Rate limit exceeded', { retryable: true, retryAfterMs })
    }
    this.#sent.push(now)
  }
}

/** Doubled each time, half of it by chance: clients that failed together do not come back together. */
function backoff(attempt: number): number {
  return Math.min(FIRST_DELAY * 2 ** attempt, LONGEST_DELAY) * (0.5 + Math.random() / 2)
}

/** For those who need no settings of their own: the default time limits, and `VITE_API_URL` or the page's origin. */
export const streamManager: StreamManager = /* @__PURE__ */ new StreamManager()
