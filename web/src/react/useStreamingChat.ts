import { useEffect, useInsertionEffect, useState, useSyncExternalStore } from 'react'
import { ChatStore, NOTHING } from './chatStore'
import type { ChatHandle, UseStreamingChatOptions } from './types'

/**
 * A conversation with streamed answers.
 *
 * Options may change at any render: the latest hold. Renders once per frame at most, however fast tokens come. A
 * component that goes stops its answer. `persist` is read when the component is mounted; give it a `key` to change it.
 */
export function useStreamingChat(options: UseStreamingChatOptions = {}): ChatHandle {
  const [store] = useState(() => new ChatStore(options))
  useInsertionEffect(() => {
    store.options = options
  })
  useEffect(() => store.attach(), [store])
  const state = useSyncExternalStore(store.subscribe, store.snapshot, () => NOTHING)
  return {
    ...state,
    sendMessage: store.send,
    cancelStream: store.cancel,
    retryLastMessage: store.retry,
    clearMessages: store.clear,
  }
}
