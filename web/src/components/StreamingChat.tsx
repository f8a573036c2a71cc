import { type UseStreamingChatOptions, useStreamingChat } from '../react'
import { ChatView, type ChatViewProps } from './ChatView'

export interface StreamingChatProps extends Omit<ChatViewProps, 'chat'>, UseStreamingChatOptions {}

/** A whole chat: the hook with a view. Takes the options of both. */
export function StreamingChat(props: StreamingChatProps) {
  const chat = useStreamingChat(props)
  return <ChatView {...props} chat={chat} />
}
