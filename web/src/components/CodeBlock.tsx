import { type ComponentProps, useRef, useState } from 'react'
import { useTexts } from './setting'

/** Code with a button that copies it. */
export function CodeBlock({ children }: ComponentProps<'pre'>) {
  const code = useRef<HTMLPreElement>(null)
  const texts = useTexts()
  const [copied, setCopied] = useState(false)
  const copy = async () => {
    await navigator.clipboard?.writeText(code.current?.textContent ?? '')
    setCopied(true)
    setTimeout(() => setCopied(false), 2000)
  }
  return (
    <div
      className="tw:relative tw:my-3 tw:overflow-hidden tw:rounded-lg tw:border tw:border-chat-line tw:bg-chat-code"
      dir="ltr"
    >
      <button
        type="button"
        onClick={copy}
        className="tw:absolute tw:end-2 tw:top-2 tw:cursor-pointer tw:rounded-md tw:border tw:border-chat-line tw:bg-chat-surface tw:px-2 tw:py-1 tw:text-xs tw:text-chat-muted tw:hover:text-chat-text"
      >
        {copied ? texts.copied : texts.copy}
      </button>
      <pre
        ref={code}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
        tabIndex={0}
        className="tw:m-0 tw:overflow-x-auto tw:p-3 tw:pe-20 tw:font-chat-mono tw:text-[0.85em] tw:leading-relaxed"
      >
        {children}
      </pre>
    </div>
  )
}
