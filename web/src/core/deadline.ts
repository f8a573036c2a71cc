// What ends a request before its answer does: the caller's signal, the total time, silence. The first of them wins, and
// its error is the signal's reason.

import { StreamError } from './errors'

const LONGEST = 2 ** 31 - 1

export class Deadline {
  readonly #controller = new AbortController()
  readonly #caller?: AbortSignal
  readonly #idleTimeout: number
  readonly #total?: ReturnType<typeof setTimeout>
  #idle?: ReturnType<typeof setTimeout>

  constructor(timeout: number, idleTimeout: number, caller?: AbortSignal) {
    this.#idleTimeout = idleTimeout
    this.#caller = caller
    if (caller?.aborted) this.#abort()
    caller?.addEventListener('abort', this.#abort)
    this.#total = this.#timer(timeout, 'timeout', 'The answer took too long.')
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** A byte came, or a wait begins: silence counts from now. */
  touch(): void {
    clearTimeout(this.#idle)
    this.#idle = this.#timer(this.#idleTimeout, 'idle_timeout', 'The connection went silent.')
  }

  /** To wait on purpose is no silence. */
  async sleep(milliseconds: number): Promise<void> {
    clearTimeout(this.#idle)
    let timer: ReturnType<typeof setTimeout> | undefined
    const slept = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds)
    })
    await this.race(slept).finally(() => clearTimeout(timer))
  }

  end(): void {
    clearTimeout(this.#total)
    clearTimeout(this.#idle)
    this.#caller?.removeEventListener('abort', this.#abort)
  }

  /** The promise's value, or this deadline's error as soon as it has one. */
  async race<T>(promise: Promise<T>): Promise<T> {
    let stop: (() => void) | undefined
    const { signal } = this
    try {
      return await Promise.race([
        promise,
        new Promise<never>((_, reject) => {
          stop = () => reject(signal.reason)
          if (signal.aborted) stop()
          signal.addEventListener('abort', stop)
        }),
      ])
    } finally {
      if (stop) signal.removeEventListener('abort', stop)
    }
  }

  readonly #abort = (): void => {
    this.#controller.abort(new StreamError('aborted', 'The request was cancelled.', { cause: this.#caller?.reason }))
  }

  #timer(milliseconds: number, code: 'timeout' | 'idle_timeout', message: string) {
    // What timers cannot count is as good as no limit; they would end at once.
    if (!(milliseconds > 0 && milliseconds <= LONGEST)) return undefined
    return setTimeout(() => this.#controller.abort(new StreamError(code, message, { retryable: true })), milliseconds)
  }
}
