import { useState } from 'react'
import { useStreamingChat } from '@/hooks/useStreamingChat'

export function Chatbot() {
  const { messages, isStreaming, currentStream, error, sendMessage, cancelStream, retryLastMessage } = useStreamingChat(
    { systemPrompt: 'You answer for the customers of a shop.', persist: true },
  )
  const [input, setInput] = useState('')

  function submit() {
    void sendMessage(input)
    setInput('')
  }

  return (
    <form action={submit}>
      {messages.map(({ id, role, content }) => (
        <p key={id} className={role}>
          {content}
        </p>
      ))}
      {isStreaming && <p className="streaming-text">{currentStream || '…'}</p>}
      {error && (
        <p role="alert">
          {error.message}{' '}
          <button type="button" onClick={retryLastMessage}>
            Try again
          </button>
        </p>
      )}
      <input aria-label="Question" value={input} onChange={(event) => setInput(event.target.value)} />
      {isStreaming ? (
        <button type="button" onClick={cancelStream}>
          Stop
        </button>
      ) : (
        <button type="submit">Ask</button>
      )}
    </form>
  )
}
