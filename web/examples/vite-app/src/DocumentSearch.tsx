import { useState } from 'react'
import { ragClient } from '@/services/ragClient'
import { streamManager } from '@/services/streaming/streamManager'

export function DocumentSearch() {
  const [query, setQuery] = useState('')
  const [answer, setAnswer] = useState('')

  async function search() {
    setAnswer('')
    const passages = await ragClient.search(query)
    await streamManager
      .streamWithRAG(
        query,
        passages.map(({ content }) => content),
        'en',
        ({ token }) => setAnswer((before) => before + token),
        (error) => setAnswer(error.message),
      )
      .catch(() => {})
  }

  return (
    <form action={search}>
      <input aria-label="Question" value={query} onChange={(event) => setQuery(event.target.value)} />
      <button type="submit">Search</button>
      <output>{answer}</output>
    </form>
  )
}
