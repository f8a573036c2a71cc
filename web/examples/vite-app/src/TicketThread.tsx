import { useEffect, useRef, useState } from 'react'
import { streamManager } from '@/services/streaming/streamManager'
import type { Entry } from './before/TicketThread'

const SYSTEM = "You write the support agent's next reply in a ticket: friendly, short, no promises."

export function TicketThread({ entries }: { entries: Entry[] }) {
  const [draft, setDraft] = useState('')
  const [problem, setProblem] = useState('')
  const running = useRef<AbortController>(undefined)
  useEffect(() => () => running.current?.abort(), [])

  async function suggest() {
    running.current?.abort()
    const controller = new AbortController()
    running.current = controller
    const { signal } = controller
    setDraft('')
    setProblem('')
    const messages = entries.map(({ author, text }) => ({
      role: author === 'customer' ? ('user' as const) : ('assistant' as const),
      content: text,
    }))
    await streamManager
      .streamLLMResponse(
        'Write the next reply.',
        SYSTEM,
        ({ token }) => signal.aborted || setDraft((before) => before + token),
        (error) => setProblem(error.message),
        undefined,
        { signal, messages },
      )
      .catch(() => {}) // onError has told of it
  }

  return (
    <section>
      {entries.map(({ author, text }) => (
        <p key={text}>
          <b>{author}</b> {text}
        </p>
      ))}
      <textarea aria-label="Reply" value={draft} onChange={(event) => setDraft(event.target.value)} />
      <button type="button" onClick={suggest}>
        Suggest a reply
      </button>
      <button type="button" onClick={() => running.current?.abort()}>
        Stop
      </button>
      {problem && <p role="alert">{problem}</p>}
    </section>
  )
}
