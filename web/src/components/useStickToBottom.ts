import { type RefObject, useCallback, useLayoutEffect, useRef, useState } from 'react'

const NEAR = 40

interface Sticking {
  box: RefObject<HTMLDivElement | null>
  /** The reader is at the end, and new text keeps it in sight. */
  atEnd: boolean
  onScroll: () => void
  toEnd: () => void
}

/** A box that shows its end as it grows, until the reader scrolls up; at the end again, it goes on. */
export function useStickToBottom(...grown: unknown[]): Sticking {
  const box = useRef<HTMLDivElement>(null)
  const last = useRef(0)
  // Not the state: text that comes in the frame of a scroll is shown before React knows of that.
  const following = useRef(true)
  const [atEnd, setAtEnd] = useState(true)
  const follow = useCallback((on: boolean) => {
    following.current = on
    setAtEnd(on)
  }, [])
  const toEnd = useCallback(() => {
    const element = box.current
    if (!element) return
    element.scrollTop = element.scrollHeight
    last.current = element.scrollTop
    follow(true)
  }, [follow])
  // Upwards by however little is the reader's wish, unless the end itself came up because the content shrank.
  const onScroll = useCallback(() => {
    const element = box.current
    if (!element) return
    const below = element.scrollHeight - element.scrollTop - element.clientHeight
    if (element.scrollTop < last.current) {
      if (below > 1) follow(false)
    } else if (below < NEAR) follow(true)
    last.current = element.scrollTop
  }, [follow])
  useLayoutEffect(() => {
    if (following.current) toEnd()
  }, [toEnd, ...grown])
  return { box, atEnd, onScroll, toEnd }
}
