// The body of an answer, frame by frame. Only `done` makes it whole: an end without it is an error.

import { createParser } from 'eventsource-parser'
import type { ChatFrame, ChatMetadata } from '../types/gateway'
import type { Deadline } from './deadline'
import { lost, StreamError } from './errors'
import type { TokenHandler } from './types'

// The longest frame: the gateway's own bound on an event is below it.
const MAX_FRAME = 1 << 24
// How long a body may take to end after `done`, before its connection is given up.
const LAST_WORDS = 1000

export interface Answer {
  text: string
  metadata?: Partial<ChatMetadata>
}

export async function readAnswer(response: Response, deadline: Deadline, onToken?: TokenHandler): Promise<Answer> {
  const requestId = response.headers.get('x-request-id') ?? undefined
  const broken = (code: 'malformed' | 'truncated', message: string, retryable = true) =>
    new StreamError(code, message, { retryable, requestId })
  const type = response.headers.get('content-type') ?? ''
  const reader = response.body?.getReader()
  // A single-page app's index.html, for want of the right address.
  if (!reader || /html|json/.test(type)) {
    void reader?.cancel().catch(() => {})
    throw broken('malformed', `This is no stream but ${type || 'an empty answer'}: is apiUrl right?`, false)
  }
  const answer: Answer = { text: '' }
  let whole = false
  const parser = createParser({
    maxBufferSize: MAX_FRAME,
    onError: (error) => {
      if (error.type === 'max-buffer-size-exceeded') throw broken('malformed', 'A frame is too long.', false)
    },
    onEvent: ({ data }) => {
      if (whole) return
      const frame = parse(data)
      if (!frame) throw broken('malformed', 'What came is not the protocol of a chat.')
      if (frame.type === 'error')
        throw new StreamError(frame.metadata?.code ?? 'http_error', frame.token, frame.metadata)
      if (frame.type === 'text') answer.text += frame.token
      else if (frame.type === 'done') {
        whole = true
        answer.metadata = frame.metadata
      } else if (frame.type !== 'thinking') return
      onToken?.(frame)
    },
  })
  const decoder = new TextDecoder()
  // Makes a read that is pending end, whatever `fetch` does with its signal.
  const stop = () => void reader.cancel().catch(() => {})
  deadline.signal.addEventListener('abort', stop)
  try {
    while (!whole) {
      const { done, value } = await reader.read().catch(lost)
      deadline.signal.throwIfAborted()
      if (done) throw broken('truncated', 'The answer was cut off.')
      deadline.touch()
      parser.feed(decoder.decode(value, { stream: true }))
    }
    leave(reader)
    return answer
  } catch (error) {
    stop()
    throw error
  } finally {
    deadline.signal.removeEventListener('abort', stop)
  }
}

function parse(data: string): ChatFrame | undefined {
  try {
    const frame = JSON.parse(data)
    return typeof frame?.type === 'string' && typeof (frame.token ?? '') === 'string' ? frame : undefined
  } catch {
    return undefined
  }
}

/** The body's end is awaited by nobody, but for a moment it may come: then the connection serves the next request. */
function leave(reader: ReadableStreamDefaultReader<Uint8Array>): void {
  const giveUp = () => reader.cancel().catch(() => {})
  const timer = setTimeout(giveUp, LAST_WORDS)
  const ended = () => clearTimeout(timer)
  reader.read().then(ended, ended)
}
