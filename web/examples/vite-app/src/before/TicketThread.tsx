import { useState } from 'react'
import { askBot } from './askBot'

export interface Entry {
  author: 'customer' | 'agent'
  text: string
}

export function TicketThread({ entries }: { entries: Entry[] }) {
  const [draft, setDraft] = useState('')

  async function suggest() {
    const thread = entries.map(({ author, text }) => `${author}: ${text}`).join('\n')
    setDraft(await askBot(`Write the agent's next reply.\n\n${thread}`))
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
    </section>
  )
}
