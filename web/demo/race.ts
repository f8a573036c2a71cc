// One question asked in two ways at the same moment, and when what was seen.

import { useEffect, useRef, useState } from 'react'
import { StreamManager } from 'tokenweir-client'
import { askWhole } from './gateway'

/** Times in milliseconds since the question. */
export interface Lane {
  text: string
  first?: number
  end?: number
  error?: string
}

export interface Race {
  streamed: Lane
  whole: Lane
  running: boolean
  /** So long it has been running. */
  elapsed: number
}

const NOTHING: Race = { streamed: { text: '' }, whole: { text: '' }, running: false, elapsed: 0 }

export function useRace(apiKey: string) {
  const [race, setRace] = useState<Race>()
  const running = useRef<AbortController>(undefined)
  useEffect(() => () => running.current?.abort(), [])

  const start = async (question: string) => {
    running.current?.abort()
    const controller = new AbortController()
    running.current = controller
    const { signal } = controller
    const began = performance.now()
    const elapsed = () => performance.now() - began
    const lanes = { streamed: { text: '' } as Lane, whole: { text: '' } as Lane }
    const show = (more: Partial<Race> = {}) => {
      if (running.current === controller) {
        setRace({
          streamed: { ...lanes.streamed },
          whole: { ...lanes.whole },
          running: true,
          elapsed: elapsed(),
          ...more,
        })
      }
    }
    setRace({ ...NOTHING, running: true })
    const clock = setInterval(show, 50)
    const kept = (lane: Lane) => (error: Error) => {
      lane.error = error.message
    }
    const manager = new StreamManager({ getToken: () => apiKey })
    const streaming = manager
      .streamLLMResponse(
        question,
        undefined,
        ({ type, token }) => {
          if (type !== 'text') return
          lanes.streamed.first ??= elapsed()
          lanes.streamed.text += token
        },
        null,
        null,
        { signal },
      )
      .then(() => {
        lanes.streamed.end = elapsed()
      }, kept(lanes.streamed))
    const waiting = askWhole(question, apiKey, signal).then((text) => {
      lanes.whole.first = elapsed()
      lanes.whole.end = lanes.whole.first
      lanes.whole.text = text
    }, kept(lanes.whole))
    await Promise.all([streaming, waiting])
    clearInterval(clock)
    show({ running: false })
  }
  return { race, start }
}
