export type { Message, MessageMetadata, StreamingChat, StreamMetrics, UseStreamingChatOptions } from './types'
export { useStreamingChat } from './useStreamingChat'
