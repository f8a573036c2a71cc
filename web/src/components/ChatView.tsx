import { type KeyboardEvent, type ReactNode, useMemo } from 'react'
import type { ChatHandle } from '../react'
import { Composer } from './Composer'
import { ErrorNotice } from './ErrorNotice'
import { LiveAnswer, type RenderStream } from './LiveAnswer'
import { MessageView } from './MessageView'
import { SettingContext } from './setting'
import { type ChatTexts, type Locale, localeOf, textsOf } from './texts'
import { useStickToBottom } from './useStickToBottom'

export interface ChatViewProps {
  /** What `useStreamingChat` returned. */
  chat: ChatHandle
  className?: string
  placeholder?: string
  /** Language of the texts; the page's unless given. */
  locale?: Locale
  texts?: Partial<ChatTexts>
  /** Speed, time to first token, tokens and cost under each answer; on unless false. */
  showStats?: boolean
  /** Words fade in, 20 ms or so many milliseconds apart. Live text is plain then, and Markdown at its end. */
  animateTokens?: boolean | number
  /** Replaces the live text. */
  renderStream?: RenderStream
  autoFocus?: boolean
  /** Before there is a message, instead of a greeting. */
  emptyState?: ReactNode
}

const DELAY = 20
const SMALL_BUTTON =
  'tw:cursor-pointer tw:rounded-lg tw:border tw:border-chat-line tw:bg-chat-surface tw:px-2.5 tw:py-1 tw:text-xs tw:text-chat-muted tw:hover:text-chat-text'

/** A conversation and the box to type in. */
export function ChatView(props: ChatViewProps) {
  const { chat, className = '', showStats = true, animateTokens = false, emptyState } = props
  const locale = localeOf(props.locale)
  const setting = useMemo(() => ({ locale, texts: textsOf(locale, props.texts) }), [locale, props.texts])
  const { texts } = setting
  const { messages, isStreaming, currentStream, error } = chat
  const { box, atEnd, onScroll, toEnd } = useStickToBottom(messages, currentStream, error)
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape' && isStreaming) chat.cancelStream()
  }
  const send = (text: string) => {
    toEnd()
    void chat.sendMessage(text)
  }
  return (
    <SettingContext.Provider value={setting}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: Escape stops wherever the focus is in here */}
      <div
        className={`tokenweir tw:relative tw:flex tw:min-h-0 tw:flex-col tw:overflow-hidden tw:bg-chat-bg tw:font-chat tw:text-chat-text ${className}`}
        onKeyDown={onKeyDown}
        lang={locale}
      >
        <div
          ref={box}
          onScroll={onScroll}
          role="log"
          aria-live="off"
          aria-label={texts.conversation}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
          tabIndex={0}
          className="tw:flex tw:min-h-0 tw:flex-1 tw:flex-col tw:gap-4 tw:overflow-y-auto tw:p-4"
        >
          {!messages.length &&
            !isStreaming &&
            (emptyState ?? <p className="tw:m-auto tw:text-chat-muted">{texts.empty}</p>)}
          {messages.map((message) => (
            <MessageView key={message.id} message={message} showStats={showStats} />
          ))}
          {isStreaming && (
            <LiveAnswer
              chat={chat}
              showStats={showStats}
              fadeDelay={animateTokens === false ? undefined : animateTokens === true ? DELAY : animateTokens}
              renderStream={props.renderStream}
            />
          )}
          {error && <ErrorNotice error={error} onRetry={chat.retryLastMessage} />}
        </div>
        <p aria-live="polite" className="tw:sr-only">
          {isStreaming
            ? !currentStream && texts.waiting
            : messages.at(-1)?.role === 'assistant' && !error
              ? texts.answered
              : ''}
        </p>
        <div className="tw:pointer-events-none tw:relative tw:h-0">
          {!atEnd && (
            <button
              type="button"
              onClick={toEnd}
              className={`${SMALL_BUTTON} tw:pointer-events-auto tw:absolute tw:end-4 tw:bottom-2`}
            >
              {texts.toLatest}
            </button>
          )}
        </div>
        {messages.length > 0 && (
          <div className="tw:flex tw:justify-end tw:px-3 tw:pb-1">
            <button type="button" onClick={chat.clearMessages} className={SMALL_BUTTON}>
              {texts.clear}
            </button>
          </div>
        )}
        <Composer
          placeholder={props.placeholder}
          isStreaming={isStreaming}
          autoFocus={props.autoFocus}
          onSend={send}
          onStop={chat.cancelStream}
        />
      </div>
    </SettingContext.Provider>
  )
}
