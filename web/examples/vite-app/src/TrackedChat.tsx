import { useState } from 'react'
import { useTrackedChat } from './analytics'

export function TrackedChat() {
  const [events, setEvents] = useState<string[]>([])
  const { sendMessage, currentStream } = useTrackedChat((event, properties) =>
    setEvents((before) => [...before, `${event} ${JSON.stringify(properties)}`]),
  )
  return (
    <section>
      <button type="button" onClick={() => sendMessage('What are your opening hours?')}>
        Ask
      </button>
      <p>{currentStream}</p>
      {events.map((event) => (
        <pre key={event}>{event}</pre>
      ))}
    </section>
  )
}
