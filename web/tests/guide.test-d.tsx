// Code as frontends have it, against the built package: every name, option and default that they were promised. It is
// compiled by `npm run check`, and never run.

import { useEffect, useState } from 'react'
import {
  type ChatHandle as Chat,
  type Message,
  StreamError,
  StreamingChat,
  type StreamingChatProps,
  StreamingStats,
  StreamManager,
  type StreamManagerOptions,
  type StreamMetrics,
  type StreamToken,
  streamManager,
  type UseStreamingChatOptions,
  useStreamingChat,
} from 'tokenweir-client'
import * as core from 'tokenweir-client/core'

declare const analytics: { track: (event: string, properties: Record<string, unknown>) => void }
declare const ragClient: { search: (query: string) => Promise<{ content: string; score: number }[]> }

// The hook.

export function HookPage() {
  const {
    messages,
    isStreaming,
    currentStream,
    streamSpeed,
    timeToFirstToken,
    tokenCount,
    error,
    sendMessage,
    cancelStream,
    retryLastMessage,
    clearMessages,
  } = useStreamingChat({
    systemPrompt: 'You are a helpful assistant.',
    onStreamStart: () => console.log('started'),
    onStreamEnd: (fullText, { responseLength, streamDuration, averageSpeed, timeToFirstToken, tokenCount }) => {
      const figures: number[] = [responseLength, streamDuration, averageSpeed, timeToFirstToken, tokenCount]
      console.log(fullText.length, figures)
    },
    onError: (error) => console.error(error.message, error.code),
    onToken: ({ type, token, timestamp, metadata }) => console.log(type, token, timestamp, metadata),
    onSlow: (speed) => console.warn(speed.toFixed(1)),
  })
  const [input, setInput] = useState('')
  const submit = async () => {
    await sendMessage(input)
    setInput('')
  }
  return (
    <div>
      {messages.map((message) => (
        <div key={message.id} className={message.role === 'user' ? 'user' : 'assistant'}>
          {message.content}
          <time>{new Date(message.timestamp).toLocaleTimeString()}</time>
          {message.metadata?.tokenCount} {message.metadata?.durationMs} {message.metadata?.tokensPerSecond?.toFixed(1)}
          {message.metadata?.costUsd?.toFixed(4)} {message.metadata?.stopReason}
        </div>
      ))}
      {isStreaming && <p className="streaming-text">{currentStream}</p>}
      {isStreaming && streamSpeed > 0 && <p>{streamSpeed.toFixed(1)} tokens/s</p>}
      {timeToFirstToken > 0 && <p>{timeToFirstToken.toFixed(0)} ms</p>}
      <p>{tokenCount + 1}</p>
      {error && <p role="alert">{error.message}</p>}
      <input value={input} onChange={(event) => setInput(event.target.value)} disabled={isStreaming} />
      <button type="button" onClick={submit} />
      <button type="button" onClick={cancelStream} />
      <button type="button" onClick={retryLastMessage} />
      <button type="button" onClick={clearMessages} />
    </div>
  )
}

export const withoutOptions = (): Chat => useStreamingChat()
export const everyOption: Required<Omit<UseStreamingChatOptions, keyof StreamManagerOptions>> = {
  systemPrompt: '',
  onStreamStart: () => {},
  onStreamEnd: (_fullText: string, _metrics: StreamMetrics) => {},
  onError: (_error: Error) => {},
  onToken: (_token: StreamToken) => {},
  onSlow: () => {},
  persist: true,
  maxContextMessages: 50,
  maxContextLength: 200_000,
  manager: streamManager,
  model: 'claude-sonnet-5-5',
  maxTokens: 1024,
  temperature: 0.5,
  stopSequences: ['END'],
  thinking: true,
  metadata: { userId: 'u1' },
  context: ['a passage'],
  language: 'fr',
}
export const state: { [Name in keyof Chat]: Chat[Name] } = {
  messages: [] satisfies Message[],
  isStreaming: false,
  currentStream: '',
  streamSpeed: 0,
  timeToFirstToken: 0,
  tokenCount: 0,
  error: null,
  sendMessage: async (_content: string) => {},
  cancelStream: () => {},
  retryLastMessage: async () => {},
  clearMessages: () => {},
}

// The component.

export function Page() {
  const [speed, setSpeed] = useState(0)
  return (
    <main>
      <StreamingChat />
      <StreamingChat
        className="h-full"
        placeholder="Posez votre question..."
        systemPrompt="You are a helpful assistant."
      />
      <StreamingChat
        onStreamStart={() => analytics.track('stream_start', {})}
        onStreamEnd={(fullText, metrics) => {
          analytics.track('stream_end', { length: fullText.length, ...metrics })
          setSpeed(metrics.averageSpeed)
        }}
        onError={(error) => analytics.track('stream_error', { message: error.message })}
        renderStream={(text) => <pre>{text}</pre>}
        animateTokens={40}
        locale="fr"
        texts={{ send: 'Demander', comeBack: (when) => `Revenez ${when}` }}
        emptyState={<h2>Bonjour</h2>}
        showStats={false}
        autoFocus
        persist
      />
      <StreamingStats streamSpeed={speed} totalTokens={12} />
      <StreamingStats
        className="mt-2"
        streamSpeed={speed}
        totalTokens={12}
        timeToFirstToken={300}
        durationMs={2500}
        costUsd={0.0012}
      />
    </main>
  )
}

export const chatProps: StreamingChatProps = {
  className: '',
  placeholder: '',
  systemPrompt: '',
  apiUrl: '',
  timeout: 60_000,
}

// The manager.

const options: StreamManagerOptions = {
  apiUrl: 'https://gateway.example.com',
  timeout: 60_000,
  idleTimeout: 30_000,
  getToken: async () => 'key',
  headers: { 'X-App': 'shop' },
  fetch: globalThis.fetch,
  maxRequestsPerMinute: 10,
  maxRetries: 2,
  maxRetryDelay: 30_000,
}

export async function direct(): Promise<string> {
  const manager = new StreamManager(options)
  const startTime = Date.now()
  let count = 0
  const whole: string = await manager.streamLLMResponse(
    'What are your opening hours?',
    'You are a helpful assistant.',
    (token) => {
      count += 1
      const speed: number = manager.calculateSpeed(count, startTime)
      console.log(token.token, speed, token.type === 'done' && token.metadata?.usage?.outputTokens)
    },
    (error) => console.error(error.message),
    (fullText) => console.log(fullText.length),
  )
  await new StreamManager().streamLLMResponse('Only a prompt')
  await streamManager.streamLLMResponse('No system prompt', undefined, (token: StreamToken) => console.log(token))
  return whole
}

export async function cancelled() {
  const controller = new AbortController()
  const { signal } = controller
  const messages = [{ role: 'user' as const, content: 'Before' }]
  const asked = streamManager.streamLLMResponse('Hi', undefined, undefined, undefined, undefined, {
    signal,
    messages,
    model: 'claude-haiku-5',
  })
  controller.abort()
  try {
    await asked
  } catch (error) {
    if (error instanceof StreamError && error.code === 'rate_limited') console.log(error.retryAfterMs, error.requestId)
    if (error instanceof StreamError && error.retryable) console.log(error.message)
    if (error instanceof Error && error.message === 'Rate limit exceeded') console.log('later')
  }
}

// Retrieval-augmented answers.

export async function answerFromDocuments(query: string) {
  const found = await ragClient.search(query)
  const context = found.map(({ content }) => content).join('\n\n')
  await streamManager.streamWithRAG(query, context)
  await streamManager.streamWithRAG(
    query,
    context,
    'fr',
    (token) => console.log(token.token),
    (error) => console.error(error),
    (fullText) => console.log(fullText),
  )
}

// Analytics.

export function Analytics() {
  const { sendMessage } = useStreamingChat({
    onStreamEnd: (_fullText, metrics) => analytics.track('chat_completed', { ...metrics }),
    onError: (error) => analytics.track('chat_failed', { code: error.code, requestId: error.requestId }),
    onSlow: (tokensPerSecond) => analytics.track('chat_slow', { tokensPerSecond }),
  })
  useEffect(() => {
    void sendMessage('Hi')
  }, [sendMessage])
  return null
}

// Without React.

export const manager: StreamManager = new core.StreamManager()
// @ts-expect-error The hook is not in the core.
core.useStreamingChat

// What is misspelt is an error.

// @ts-expect-error
new StreamManager({ apiURL: '' })
// @ts-expect-error
streamManager.streamLLMResponse(42)
// @ts-expect-error
export const useMisspelt = () => useStreamingChat({ system: '' })
