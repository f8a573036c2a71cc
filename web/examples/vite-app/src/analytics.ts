import { type UseStreamingChatOptions, useStreamingChat } from '@/hooks/useStreamingChat'

export type Track = (event: string, properties: Record<string, unknown>) => void

/** The hook, with its figures sent to wherever yours go. No text leaves the page. */
export function useTrackedChat(track: Track, options: UseStreamingChatOptions = {}) {
  return useStreamingChat({
    ...options,
    onStreamEnd: (fullText, metrics) => {
      track('chat_answered', { ...metrics })
      options.onStreamEnd?.(fullText, metrics)
    },
    onError: (error) => {
      track('chat_failed', { code: error.code, retryAfterMs: error.retryAfterMs, requestId: error.requestId })
      options.onError?.(error)
    },
    onSlow: (tokensPerSecond) => {
      track('chat_slow', { tokensPerSecond })
      options.onSlow?.(tokensPerSecond)
    },
  })
}
