import type { ReactNode } from 'react'
import type { ChatHandle } from '../react'
import { Markdown } from './Markdown'
import { StreamingStats } from './StreamingStats'
import { useTexts } from './setting'
import { TokenFade } from './TokenFade'

export type RenderStream = (text: string) => ReactNode

interface LiveAnswerProps {
  chat: ChatHandle
  showStats: boolean
  /** Milliseconds between words that fade in; without it there is Markdown. */
  fadeDelay?: number
  renderStream?: RenderStream
}

/** The answer that is coming. Screen readers are not told each token; they are told when it is whole. */
export function LiveAnswer({ chat, showStats, fadeDelay, renderStream }: LiveAnswerProps) {
  const texts = useTexts()
  const text = chat.currentStream
  return (
    <article aria-label={texts.assistant} aria-busy="true" className="tw:w-full tw:self-start" dir="auto">
      <div className="streaming-text">
        {renderStream ? (
          renderStream(text)
        ) : fadeDelay === undefined ? (
          <Markdown text={text} live />
        ) : (
          <TokenFade text={text} delay={fadeDelay} />
        )}
        {!text && <span className="tw:sr-only">{texts.waiting}</span>}
        <span className="blinking-cursor" aria-hidden="true" />
      </div>
      {showStats && text && (
        <StreamingStats
          streamSpeed={chat.streamSpeed}
          totalTokens={chat.tokenCount}
          timeToFirstToken={chat.timeToFirstToken}
        />
      )}
    </article>
  )
}
