import { useState } from 'react'
import type { PageTexts } from './texts'

const codes = (origin: string) => ({
  component: `import { StreamingChat } from 'tokenweir-client'
import 'tokenweir-client/styles.css'

export function Support() {
  return (
    <StreamingChat
      apiUrl="${origin}"
      systemPrompt="You answer for the customers of a shop."
      persist
    />
  )
}`,
  hook: `import { useStreamingChat } from 'tokenweir-client'

export function Support() {
  const { messages, isStreaming, currentStream, error, sendMessage } =
    useStreamingChat({ apiUrl: '${origin}' })
  return (
    <>
      {messages.map(({ id, role, content }) => (
        <p key={id} className={role}>{content}</p>
      ))}
      {isStreaming && <p>{currentStream}</p>}
      {error && <p role="alert">{error.message}</p>}
      <button onClick={() => sendMessage('What are your opening hours?')}>
        Ask
      </button>
    </>
  )
}`,
  curl: `curl -N ${origin}/api/chat/stream \\
  -H 'Authorization: Bearer YOUR_KEY' \\
  -H 'Content-Type: application/json' \\
  -d '{"message": "What are your opening hours?"}'`,
  python: `import anthropic

client = anthropic.Anthropic(base_url="${origin}", api_key="YOUR_KEY")

with client.messages.stream(
    model="claude-sonnet-5-5",
    max_tokens=1024,
    messages=[{"role": "user", "content": "What are your opening hours?"}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)`,
})

type Tab = keyof ReturnType<typeof codes>

export function Snippets({ texts }: { texts: PageTexts }) {
  const [tab, setTab] = useState<Tab>('component')
  const [copied, setCopied] = useState(false)
  const all = codes(location.origin)
  const copy = async () => {
    await navigator.clipboard?.writeText(all[tab])
    setCopied(true)
    setTimeout(() => setCopied(false), 2000)
  }
  return (
    <section aria-labelledby="code">
      <h2 id="code">{texts.code}</h2>
      <p className="lead">{texts.codeLead}</p>
      <div className="card code">
        <div className="tabs">
          {(Object.keys(all) as Tab[]).map((name) => (
            <button key={name} type="button" aria-pressed={name === tab} onClick={() => setTab(name)}>
              {texts.tabs[name]}
            </button>
          ))}
          <button type="button" className="copy" onClick={copy}>
            {copied ? texts.copied : texts.copy}
          </button>
        </div>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard */}
        <pre tabIndex={0}>
          <code>{all[tab]}</code>
        </pre>
      </div>
    </section>
  )
}
