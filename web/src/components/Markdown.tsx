// Markdown by Streamdown: parsed block by block as it grows, unfinished markers completed, HTML sanitised. Its elements
// are ours: no controls, no highlighter, no images from other hosts, which would tell them what is read.

import { type ComponentProps, memo } from 'react'
import { type Components, Streamdown } from 'streamdown'
import { CodeBlock } from './CodeBlock'

function Link({ href, children }: ComponentProps<'a'>) {
  return (
    <a
      href={href}
      target="_blank"
      rel="noopener noreferrer nofollow"
      className="tw:text-chat-accent tw:underline tw:underline-offset-2"
    >
      {children}
    </a>
  )
}

function Picture({ src, alt }: ComponentProps<'img'>) {
  return typeof src === 'string' && src ? <Link href={src}>{alt || src}</Link> : alt
}

function Table({ children }: ComponentProps<'table'>) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
    <div tabIndex={0} className="tw:my-3 tw:overflow-x-auto">
      <table className="tw:w-max tw:min-w-full tw:border-collapse tw:text-[0.95em]">{children}</table>
    </div>
  )
}

// Streamdown's type has an index signature that plain elements do not meet.
const COMPONENTS = {
  a: Link,
  img: Picture,
  pre: CodeBlock,
  code: ({ children, className }) => <code className={className}>{children}</code>,
  inlineCode: ({ children }) => (
    <code className="tw:rounded tw:bg-chat-code tw:px-1 tw:py-0.5 tw:font-chat-mono tw:text-[0.9em]">{children}</code>
  ),
  p: ({ children }) => <p className="tw:my-2">{children}</p>,
  h1: ({ children }) => <h3 className="tw:mt-4 tw:mb-2 tw:text-lg tw:font-semibold">{children}</h3>,
  h2: ({ children }) => <h4 className="tw:mt-4 tw:mb-2 tw:text-base tw:font-semibold">{children}</h4>,
  h3: ({ children }) => <h5 className="tw:mt-3 tw:mb-1 tw:text-base tw:font-semibold">{children}</h5>,
  h4: ({ children }) => <h6 className="tw:mt-3 tw:mb-1 tw:text-sm tw:font-semibold">{children}</h6>,
  h5: ({ children }) => <h6 className="tw:mt-3 tw:mb-1 tw:text-sm tw:font-semibold">{children}</h6>,
  h6: ({ children }) => <h6 className="tw:mt-3 tw:mb-1 tw:text-sm tw:font-semibold">{children}</h6>,
  ul: ({ children }) => <ul className="tw:my-2 tw:list-disc tw:ps-6">{children}</ul>,
  ol: ({ children, start }) => (
    <ol start={start} className="tw:my-2 tw:list-decimal tw:ps-6">
      {children}
    </ol>
  ),
  li: ({ children }) => <li className="tw:my-1">{children}</li>,
  blockquote: ({ children }) => (
    <blockquote className="tw:my-2 tw:mx-0 tw:border-0 tw:border-s-2 tw:border-solid tw:border-chat-line tw:ps-3 tw:text-chat-muted">
      {children}
    </blockquote>
  ),
  hr: () => <hr className="tw:my-4 tw:border-0 tw:border-t tw:border-solid tw:border-chat-line" />,
  strong: ({ children }) => <strong className="tw:font-semibold">{children}</strong>,
  table: Table,
  thead: ({ children }) => <thead>{children}</thead>,
  tbody: ({ children }) => <tbody>{children}</tbody>,
  tr: ({ children }) => <tr>{children}</tr>,
  th: ({ children }) => (
    <th className="tw:border-b tw:border-chat-line tw:px-3 tw:py-1.5 tw:text-start tw:font-semibold">{children}</th>
  ),
  td: ({ children }) => <td className="tw:border-b tw:border-chat-line tw:px-3 tw:py-1.5 tw:align-top">{children}</td>,
} as Components

interface MarkdownProps {
  text: string
  /** It still grows. */
  live?: boolean
}

export const Markdown = memo(function Markdown({ text, live = false }: MarkdownProps) {
  return (
    <Streamdown
      mode={live ? 'streaming' : 'static'}
      parseIncompleteMarkdown={live}
      controls={false}
      linkSafety={{ enabled: false }}
      components={COMPONENTS}
      className="tw:break-words"
    >
      {text}
    </Streamdown>
  )
})
