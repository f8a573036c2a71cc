import { StreamingChat } from '@/components/StreamingChat'
import 'tokenweir-client/styles.css'

export function Support() {
  return (
    <StreamingChat
      className="support"
      placeholder="Posez votre question..."
      systemPrompt="You answer for the customers of a shop."
      persist="support"
    />
  )
}
