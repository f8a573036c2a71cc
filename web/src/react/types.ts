import type { RequestOptions, StreamError, StreamManager, StreamManagerOptions, StreamToken } from '../core'

/** What an answer took. Figures that the gateway did not tell are this page's own. */
export interface MessageMetadata {
  /** Output tokens as they are billed; of a broken answer the pieces that came. */
  tokenCount?: number
  /** From sending to the end. */
  durationMs?: number
  /** Once tokens came. */
  tokensPerSecond?: number
  timeToFirstTokenMs?: number
  costUsd?: number
  /** Claude's (`end_turn`, `max_tokens`, …), or `cancelled`, or `error`: then the text is only the beginning. */
  stopReason?: string
  model?: string
  requestId?: string
}

export interface Message {
  id: string
  role: 'user' | 'assistant'
  content: string
  /** Unix time in milliseconds: of the question, and of the answer's end. */
  timestamp: number
  metadata?: MessageMetadata
}

/** What `onStreamEnd` is told; times in milliseconds, speed in tokens per second. */
export interface StreamMetrics {
  /** Characters of the answer. */
  responseLength: number
  streamDuration: number
  averageSpeed: number
  timeToFirstToken: number
  tokenCount: number
}

export interface UseStreamingChatOptions extends StreamManagerOptions, Omit<RequestOptions, 'messages'> {
  systemPrompt?: string
  onStreamStart?: () => void
  /** An answer came whole. */
  onStreamEnd?: (fullText: string, metrics: StreamMetrics) => void
  /** An answer failed; not called for `cancelStream`. */
  onError?: (error: StreamError) => void
  onToken?: (token: StreamToken) => void
  /** Once for an answer that comes at fewer than 5 tokens per second, with its speed. */
  onSlow?: (tokensPerSecond: number) => void
  /** Keep the conversation in this tab's sessionStorage; a string names it where a page has several. */
  persist?: boolean | string
  /** How many messages go along as context: the latest 50 unless set. */
  maxContextMessages?: number
  /** How many characters of messages go along: 200 000 unless set. */
  maxContextLength?: number
  /** Shared by several chats, for instance; then its settings hold and not those given here. */
  manager?: StreamManager
}

export interface ChatState {
  /** The conversation; the answer that is coming is in `currentStream` until it ends. */
  messages: Message[]
  isStreaming: boolean
  /** What has come of the running answer. */
  currentStream: string
  /** Tokens per second since the first one. */
  streamSpeed: number
  /** Milliseconds; 0 as long as there is none. */
  timeToFirstToken: number
  tokenCount: number
  /** Why the last answer failed. */
  error: StreamError | null
}

export interface ChatHandle extends ChatState {
  /** Resolves when the answer has ended, however; does nothing while one is running, or for a blank text. */
  sendMessage: (content: string) => Promise<void>
  /** Stops the answer, and Claude. What has come stays. */
  cancelStream: () => void
  /** Asks the last question again; what came of its answer is replaced. */
  retryLastMessage: () => Promise<void>
  /** Stops the answer and forgets the conversation. */
  clearMessages: () => void
}
