import { memo } from 'react'
import type { Message } from '../react'
import { Markdown } from './Markdown'
import { StreamingStats } from './StreamingStats'
import { useTexts } from './setting'
import type { ChatTexts } from './texts'

const QUESTION =
  'tw:max-w-[85%] tw:self-end tw:rounded-2xl tw:rounded-ee-sm tw:bg-chat-user tw:px-4 tw:py-2 tw:text-chat-on-user'

interface MessageViewProps {
  message: Message
  showStats: boolean
}

/** A message that does not change any more. */
export const MessageView = memo(function MessageView({ message, showStats }: MessageViewProps) {
  const texts = useTexts()
  const { role, content, metadata } = message
  if (role === 'user') {
    return (
      <article aria-label={texts.you} className={QUESTION} dir="auto">
        <p className="tw:m-0 tw:whitespace-pre-wrap tw:break-words">{content}</p>
      </article>
    )
  }
  const note = noteOf(metadata?.stopReason, texts)
  return (
    <article aria-label={texts.assistant} className="tw:w-full tw:self-start" dir="auto">
      <Markdown text={content} />
      <div className="tw:flex tw:flex-wrap tw:gap-x-4 tw:gap-y-1" dir="auto">
        {note && <span className="tw:text-xs tw:font-medium tw:text-chat-warning">{note}</span>}
        {showStats && metadata?.tokenCount !== undefined && (
          <StreamingStats
            streamSpeed={metadata.tokensPerSecond ?? 0}
            totalTokens={metadata.tokenCount}
            timeToFirstToken={metadata.timeToFirstTokenMs}
            durationMs={metadata.durationMs}
            costUsd={metadata.costUsd}
          />
        )}
      </div>
    </article>
  )
})

function noteOf(stopReason: string | undefined, texts: ChatTexts): string | undefined {
  if (stopReason === 'cancelled') return texts.stopped
  if (stopReason === 'error') return texts.broken
  return stopReason === 'max_tokens' ? texts.cut : undefined
}
