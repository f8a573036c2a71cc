export type { ChatHandle, Message, MessageMetadata, StreamMetrics, UseStreamingChatOptions } from './types'
export { useStreamingChat } from './useStreamingChat'
