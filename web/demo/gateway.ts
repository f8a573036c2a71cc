// The gateway that served this page, and what this page asks it.

/** What `/streaming-demo/about.json` tells. */
export interface About {
  version: string
  /** Claude is the built-in pretend one, which takes directives. */
  pretend: boolean
}

export async function about(): Promise<About> {
  const response = await fetch('/streaming-demo/about.json')
  return await response.json()
}

/** A `fetch` that writes directives for the pretend Claude behind the message, where there are any. */
export function directing(take: () => string): typeof fetch {
  return (input, init) => {
    const directives = take()
    if (!directives || typeof init?.body !== 'string') return fetch(input, init)
    const body = JSON.parse(init.body)
    const message = `${body.message} [[sim: ${directives}]]`
    return fetch(input, { ...init, body: JSON.stringify({ ...body, message }) })
  }
}

/** The answer in one piece, as a page without streaming asks for it. */
export async function askWhole(message: string, key: string, signal: AbortSignal): Promise<string> {
  const response = await fetch('/api/chat/stream', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) },
    body: JSON.stringify({ message, stream: false }),
    signal,
  })
  const body = await response.json()
  if (!response.ok) throw new Error(body.message ?? body.error)
  return body.text
}
