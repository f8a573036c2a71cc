import { type FormEvent, type KeyboardEvent, useState } from 'react'
import { useTexts } from './setting'

const BUTTON =
  'tw:cursor-pointer tw:rounded-xl tw:border-0 tw:px-4 tw:py-2 tw:font-medium tw:disabled:cursor-default tw:disabled:opacity-50'

interface ComposerProps {
  placeholder?: string
  isStreaming: boolean
  autoFocus?: boolean
  onSend: (text: string) => void
  onStop: () => void
}

/** Enter sends, Shift+Enter is a new line. While an answer comes the button stops it; the next question can be typed. */
export function Composer({ placeholder, isStreaming, autoFocus, onSend, onStop }: ComposerProps) {
  const texts = useTexts()
  const [text, setText] = useState('')
  const send = () => {
    if (isStreaming || !text.trim()) return
    onSend(text.trim())
    setText('')
  }
  const onSubmit = (event: FormEvent) => {
    event.preventDefault()
    send()
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return
    event.preventDefault()
    send()
  }
  const label = placeholder ?? texts.placeholder
  return (
    <form
      onSubmit={onSubmit}
      className="tw:flex tw:items-end tw:gap-2 tw:border-0 tw:border-t tw:border-solid tw:border-chat-line tw:p-3"
    >
      <textarea
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
        placeholder={label}
        aria-label={label}
        rows={1}
        // biome-ignore lint/a11y/noAutofocus: only where the page asks for it
        autoFocus={autoFocus}
        dir="auto"
        className="tw:field-sizing-content tw:max-h-40 tw:min-h-10 tw:flex-1 tw:resize-none tw:rounded-xl tw:border tw:border-chat-line tw:bg-chat-bg tw:px-3 tw:py-2 tw:text-chat-text tw:placeholder:text-chat-muted"
      />
      {isStreaming ? (
        <button type="button" onClick={onStop} className={`${BUTTON} tw:bg-chat-text tw:text-chat-bg`}>
          {texts.stop}
        </button>
      ) : (
        <button type="submit" disabled={!text.trim()} className={`${BUTTON} tw:bg-chat-accent tw:text-chat-on-accent`}>
          {texts.send}
        </button>
      )}
    </form>
  )
}
