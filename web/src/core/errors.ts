// All errors of the client: one class, told apart by `code`.
// - `message` is a sentence for a person, the gateway's own where it sent one.
// - `retryable`: whether the same request can succeed later; what the gateway says wins over what the status suggests.

import type { StreamErrorCode } from './types'

export interface StreamErrorDetails {
  /** Whether the same request can succeed later. */
  retryable?: boolean
  /** Milliseconds after which it can, where that is known. */
  retryAfterMs?: number
  /** The gateway's id of the request: its operator finds the log line with it. */
  requestId?: string
  /** The HTTP status, if the answer never began. */
  status?: number
  /** The limit that refused, as the gateway names it. */
  limit?: string
  cause?: unknown
}

export class StreamError extends Error {
  readonly code: StreamErrorCode
  readonly retryable: boolean = false
  readonly retryAfterMs?: number
  readonly requestId?: string
  readonly status?: number
  readonly limit?: string

  constructor(code: StreamErrorCode, message: string, details?: StreamErrorDetails) {
    super(message)
    // As fetch names it, for callers that look at the name.
    this.name = code === 'aborted' ? 'AbortError' : 'StreamError'
    this.code = code
    Object.assign(this, details)
  }
}

/** For `catch`, where only the network can have failed. */
export function lost(cause: unknown): never {
  throw new StreamError('network_error', 'The connection to the server failed.', { retryable: true, cause })
}
