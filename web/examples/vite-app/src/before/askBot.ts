// The non-streaming call of an existing application: it answers when all of the answer is there.
export async function askBot(message: string): Promise<string> {
  const response = await fetch(`${import.meta.env.VITE_API_URL ?? ''}/api/chat/stream`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ message, stream: false }),
  })
  if (!response.ok) throw new Error(`HTTP ${response.status}`)
  const { text } = await response.json()
  return text
}
