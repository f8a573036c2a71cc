import { useState } from 'react'
import { askBot } from './askBot'

export function Chatbot() {
  const [messages, setMessages] = useState<{ role: string; content: string }[]>([])
  const [input, setInput] = useState('')
  const [waiting, setWaiting] = useState(false)

  async function submit() {
    const question = { role: 'user', content: input }
    setMessages((before) => [...before, question])
    setInput('')
    setWaiting(true)
    const content = await askBot(question.content)
    setMessages((before) => [...before, { role: 'assistant', content }])
    setWaiting(false)
  }

  return (
    <form action={submit}>
      {messages.map(({ role, content }) => (
        <p key={role + content} className={role}>
          {content}
        </p>
      ))}
      {waiting && <p>…</p>}
      <input aria-label="Question" value={input} onChange={(event) => setInput(event.target.value)} />
      <button type="submit">Ask</button>
    </form>
  )
}
