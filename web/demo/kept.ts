import { useState } from 'react'

/** A text that stays in this tab. A storage that is forbidden is no error. */
export function useKept(name: string, initial: string): [string, (value: string) => void] {
  const [value, setValue] = useState(() => read(name) ?? initial)
  const keep = (next: string) => {
    setValue(next)
    try {
      sessionStorage.setItem(name, next)
    } catch {
      // The page goes on without it.
    }
  }
  return [value, keep]
}

function read(name: string): string | null {
  try {
    return sessionStorage.getItem(name)
  } catch {
    return null
  }
}
