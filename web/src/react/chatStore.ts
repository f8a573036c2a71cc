// A conversation and its one running answer; knows nothing of React.
// - State changes are synchronous and make a new snapshot. Tokens only ask for one: at most once per frame.
// - A run that was cancelled is no longer `#run`, and nothing that it does later counts.
// - The request leaves in a microtask: what is undone at once, as Strict Mode does, was never sent.

import { type ChatTurn, type StreamError, StreamManager, type StreamToken } from '../core'
import { contextOf } from './context'
import { History } from './history'
import { Run } from './run'
import type { ChatState, Message, UseStreamingChatOptions } from './types'

export const NOTHING: ChatState = {
  messages: [],
  isStreaming: false,
  currentStream: '',
  streamSpeed: 0,
  timeToFirstToken: 0,
  tokenCount: 0,
  error: null,
}

export class ChatStore {
  /** The latest ones: no callback or setting is older than the last render. */
  options: UseStreamingChatOptions
  readonly #manager: StreamManager
  readonly #history: History
  readonly #listeners = new Set<() => void>()
  #state: ChatState
  #run?: Run
  #frame?: () => void
  #watch?: ReturnType<typeof setInterval>

  constructor(options: UseStreamingChatOptions) {
    this.options = options
    this.#manager = new StreamManager(new Proxy({}, { get: (_, name) => Reflect.get(this.options, name) }))
    this.#history = new History(options.persist)
    this.#state = { ...NOTHING, messages: this.#history.load() }
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  readonly snapshot = (): ChatState => this.#state

  /** While the chat is on a page; undone, the running answer ends. */
  readonly attach = (): (() => void) => {
    const keep = () => this.#save()
    globalThis.addEventListener?.('pagehide', keep)
    return () => {
      globalThis.removeEventListener?.('pagehide', keep)
      this.cancel()
    }
  }

  readonly send = async (content: string): Promise<void> => {
    if (this.#run || !content.trim()) return
    const { messages } = this.#state
    const question: Message = { id: newId(), role: 'user', content, timestamp: Date.now() }
    await this.#ask(content, messages, [...messages, question])
  }

  readonly retry = async (): Promise<void> => {
    if (this.#run) return
    const { messages } = this.#state
    const index = messages.findLastIndex(({ role }) => role === 'user')
    const question = messages[index]
    if (question) await this.#ask(question.content, messages.slice(0, index), messages.slice(0, index + 1))
  }

  readonly cancel = (): void => {
    const run = this.#run
    if (!run) return
    run.controller.abort()
    // The question was never asked: as if it had not been.
    this.#end(run.sent ? this.#with(run, 'cancelled') : { messages: run.before })
  }

  readonly clear = (): void => {
    this.#run?.controller.abort()
    this.#end({ ...NOTHING })
  }

  async #ask(prompt: string, earlier: readonly Message[], messages: Message[]): Promise<void> {
    const { maxContextMessages, maxContextLength } = this.options
    const run = new Run(this.#state.messages)
    this.#run = run
    this.#set({ ...NOTHING, messages, isStreaming: true })
    this.#save()
    await Promise.resolve()
    if (this.#run !== run) return
    run.sent = true
    this.#watch = setInterval(() => this.#checkSpeed(run), 500)
    try {
      this.options.onStreamStart?.()
      await this.#stream(run, prompt, contextOf(earlier, maxContextMessages, maxContextLength))
    } catch (error) {
      if (this.#run !== run) return
      this.#end({ ...this.#with(run, 'error'), error: error as StreamError })
      this.options.onError?.(error as StreamError)
      return
    }
    if (this.#run !== run) return
    this.#end(this.#with(run))
    this.options.onStreamEnd?.(run.text, run.metrics)
  }

  #stream(run: Run, prompt: string, messages: ChatTurn[]): Promise<string> {
    const { manager = this.#manager, systemPrompt, model, maxTokens, temperature, stopSequences } = this.options
    const { thinking, metadata, context, language } = this.options
    const request = { model, maxTokens, temperature, stopSequences, thinking, metadata, context, language }
    const { signal } = run.controller
    const onToken = (token: StreamToken) => this.#take(run, token)
    return manager.streamLLMResponse(prompt, systemPrompt, onToken, null, null, { ...request, messages, signal })
  }

  #take(run: Run, token: StreamToken): void {
    if (this.#run !== run) return
    run.take(token)
    this.options.onToken?.(token)
    this.#frame ??= nextFrame(() => {
      this.#frame = undefined
      this.#set({ currentStream: run.text, ...figures(run) })
    })
  }

  #checkSpeed(run: Run): void {
    const speed = run.slowSpeed
    if (run.told || speed === undefined) return
    run.told = true
    this.options.onSlow?.(speed)
  }

  /** What came of the run, once it is over. */
  #with(run: Run, stopReason?: 'cancelled' | 'error'): Partial<ChatState> {
    run.end()
    const answer = run.message(newId(), stopReason)
    const { messages } = this.#state
    return { messages: answer ? [...messages, answer] : messages, ...figures(run) }
  }

  #end(change: Partial<ChatState>): void {
    const run = this.#run
    this.#run = undefined
    clearInterval(this.#watch)
    this.#frame?.()
    this.#frame = undefined
    if (run) this.#checkSpeed(run)
    this.#set({ ...change, isStreaming: false, currentStream: '' })
    this.#save()
  }

  #set(change: Partial<ChatState>): void {
    this.#state = { ...this.#state, ...change }
    for (const listener of this.#listeners) listener()
  }

  /** With what has come of a running answer, should the page go now. */
  #save(): void {
    const { messages } = this.#state
    const part = this.#run?.message(newId(), 'cancelled')
    this.#history.save(part ? [...messages, part] : messages)
  }
}

function figures({ speed, timeToFirstToken, tokenCount }: Run): Partial<ChatState> {
  return { streamSpeed: speed, timeToFirstToken, tokenCount }
}

/** Run it before the next paint; the result takes it back. */
function nextFrame(run: () => void): () => void {
  if (typeof requestAnimationFrame === 'function') {
    const id = requestAnimationFrame(run)
    return () => cancelAnimationFrame(id)
  }
  const id = setTimeout(run, 16)
  return () => clearTimeout(id)
}

let count = 0

/** Not `crypto.randomUUID`: that is for secure contexts only. */
function newId(): string {
  count += 1
  return `${Date.now().toString(36)}-${count}-${Math.random().toString(36).slice(2, 10)}`
}
