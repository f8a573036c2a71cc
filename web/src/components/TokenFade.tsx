import { useRef } from 'react'

interface TokenFadeProps {
  text: string
  /** Milliseconds between one token and the next. */
  delay: number
}

/** Plain text whose words fade in one after the other: word n not before n × `delay` after the first. */
export function TokenFade({ text, delay }: TokenFadeProps) {
  const shown = useRef<{ since: number; delays: number[] }>({ since: performance.now(), delays: [] })
  const words = text.match(/\s*\S+|\s+$/g) ?? []
  const { since, delays } = shown.current
  while (delays.length < words.length) {
    delays.push(Math.max(0, Math.round(delays.length * delay - (performance.now() - since))))
  }
  return (
    <span className="tw:whitespace-pre-wrap">
      {words.map((word, index) => (
        <span key={index} className="animate-fade-in" style={{ animationDelay: `${delays[index]}ms` }}>
          {word}
        </span>
      ))}
    </span>
  )
}
