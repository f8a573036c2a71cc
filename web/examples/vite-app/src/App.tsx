import { type ReactNode, useSyncExternalStore } from 'react'
import { Chatbot as OldChatbot } from './before/Chatbot'
import { TicketThread as OldTicketThread } from './before/TicketThread'
import { Chatbot } from './Chatbot'
import { DocumentSearch } from './DocumentSearch'
import { Support } from './Support'
import { TicketThread } from './TicketThread'
import { TrackedChat } from './TrackedChat'

const ticket = [
  { author: 'customer' as const, text: 'My parcel has not come.' },
  { author: 'agent' as const, text: 'When did you order?' },
  { author: 'customer' as const, text: 'Nine days ago.' },
]

const pages: Record<string, ReactNode> = {
  '#chatbot': <Chatbot />,
  '#support': <Support />,
  '#ticket': <TicketThread entries={ticket} />,
  '#search': <DocumentSearch />,
  '#tracked': <TrackedChat />,
  '#old-chatbot': <OldChatbot />,
  '#old-ticket': <OldTicketThread entries={ticket} />,
}

export function App() {
  const hash = useSyncExternalStore(
    (changed) => {
      addEventListener('hashchange', changed)
      return () => removeEventListener('hashchange', changed)
    },
    () => location.hash,
  )
  return (
    <>
      <nav>
        {Object.keys(pages).map((name) => (
          <a key={name} href={name}>
            {name.slice(1)}{' '}
          </a>
        ))}
      </nav>
      <main key={hash}>{pages[hash] ?? pages['#chatbot']}</main>
    </>
  )
}
