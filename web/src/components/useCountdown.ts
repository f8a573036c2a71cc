import { useEffect, useState } from 'react'

/** Seconds left until `milliseconds` after `what` came, counted down each second; 0 without. */
export function useCountdown(what: unknown, milliseconds = 0): number {
  const [state, setState] = useState({ what, until: Date.now() + milliseconds, now: Date.now() })
  if (state.what !== what) setState({ what, until: Date.now() + milliseconds, now: Date.now() })
  const left = Math.max(0, Math.ceil((state.until - state.now) / 1000))
  const counting = left > 0
  useEffect(() => {
    if (!counting) return
    const timer = setInterval(() => setState((last) => ({ ...last, now: Date.now() })), 1000)
    return () => clearInterval(timer)
  }, [counting])
  return left
}
