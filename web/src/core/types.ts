import type { ChatMetadata, ChatRequest, ErrorCode } from '../types/gateway'

/** One frame of an answer, as `onToken` gets it: every piece of text, and `done` with what the answer took. */
export interface StreamToken {
  /** `thinking` only where it was asked for. An error is thrown, never handed to `onToken`. */
  type: 'text' | 'thinking' | 'done' | 'error'
  /** The piece to append; empty in `done`. */
  token: string
  /** Unix time in milliseconds, by the gateway's clock. */
  timestamp: number
  /** Of `done`: request id, model, stop reason, usage, timing, price. */
  metadata?: Partial<ChatMetadata>
}

/** What happened: a code of the gateway's, or one of this client's own. */
export type StreamErrorCode =
  | ErrorCode
  /** The caller's signal. */
  | 'aborted'
  /** The answer took longer than `timeout`. */
  | 'timeout'
  /** Nothing came for `idleTimeout`, not even a heartbeat. */
  | 'idle_timeout'
  /** No connection, or it broke; or a browser kept the answer from the page (CORS). */
  | 'network_error'
  /** The body ended without `done`. */
  | 'truncated'
  /** What came is not the chat route's protocol: often a wrong `apiUrl`. */
  | 'malformed'
  /** `maxRequestsPerMinute`: nothing was sent. */
  | 'client_rate_limited'
  /** An error status without a code. */
  | 'http_error'

export type TokenHandler = (token: StreamToken) => void
export type ErrorHandler = (error: Error) => void
export type CompleteHandler = (fullText: string, metadata?: Partial<ChatMetadata>) => void

/** What a request can say beside its message; the gateway's configuration has the defaults. */
export type RequestOptions = Pick<
  ChatRequest,
  | 'messages'
  | 'model'
  | 'maxTokens'
  | 'temperature'
  | 'stopSequences'
  | 'thinking'
  | 'metadata'
  | 'context'
  | 'language'
>

export interface StreamOptions extends RequestOptions {
  /** Aborting it cancels the request, and the gateway stops Claude. */
  signal?: AbortSignal
}

export interface StreamManagerOptions {
  /**
   * The gateway's address (`https://gateway.example.com`) or the whole endpoint (a path that ends in `/stream`).
   * Without it `import.meta.env.VITE_API_URL`, else the page's own origin.
   */
  apiUrl?: string
  /** Milliseconds that an answer may take in all, retries included. 60 000 unless set; 0 is no limit. */
  timeout?: number
  /** Milliseconds without a byte; the gateway sends a heartbeat every 15 s. 30 000 unless set; 0 is no limit. */
  idleTimeout?: number
  /** A key or token for each request, sent as `Authorization: Bearer`. Keep long-lived keys out of browsers. */
  getToken?: () => string | null | undefined | Promise<string | null | undefined>
  /** Sent with every request. */
  headers?: HeadersInit
  /** Used in place of the global `fetch`. */
  fetch?: typeof fetch
  /** Requests in any 60 s; one more is rejected with `Rate limit exceeded` and not sent. No limit unless set. */
  maxRequestsPerMinute?: number
  /** How often to try again by itself, before the first token only. 0 unless set. */
  maxRetries?: number
  /** Milliseconds of waiting past which a retry is left to the caller. 30 000 unless set. */
  maxRetryDelay?: number
}
