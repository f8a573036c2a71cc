// What an error means for a person, and when to come back.

import type { StreamError } from '../core'
import type { ChatTexts, Locale } from './texts'

type Sentence = Exclude<keyof ChatTexts, 'comeBack' | 'reference'>

const SENTENCES: Record<string, Sentence> = {
  network_error: 'offline',
  timeout: 'slow',
  idle_timeout: 'interrupted',
  truncated: 'interrupted',
  malformed: 'failed',
  client_rate_limited: 'quota',
}

/** The sentence for an error; what is told of a refused request is the gateway's own, which names the field. */
export function troubleOf(error: StreamError, texts: ChatTexts): string {
  const known = SENTENCES[error.code]
  if (known) return texts[known]
  switch (error.status) {
    case 401:
    case 403:
      return texts.forbidden
    case 413:
      return texts.tooLong
    case 429:
      return texts.quota
    case 502:
    case 503:
    case 504:
    case 529:
      return texts.overloaded
    case 400:
    case 422:
      return `${texts.refused} ${error.message}`
    case undefined:
      return /overloaded|unavailable|rate_limit/.test(error.code) ? texts.overloaded : texts.interrupted
    default:
      return texts.failed
  }
}

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** When that is, in words: `in 20 seconds`, `in 5 minutes`, and from an hour on the time or the day. */
export function whenOf(seconds: number, locale: Locale, now = Date.now()): string {
  const relative = new Intl.RelativeTimeFormat(locale)
  if (seconds < 2 * MINUTE) return relative.format(Math.ceil(seconds), 'second')
  if (seconds < HOUR) return relative.format(Math.ceil(seconds / MINUTE), 'minute')
  const time: Intl.DateTimeFormatOptions = { hour: 'numeric', minute: '2-digit' }
  const day: Intl.DateTimeFormatOptions = { weekday: 'long', day: 'numeric', month: 'long' }
  const at = new Date(now + seconds * 1000)
  const told = new Intl.DateTimeFormat(locale, seconds < DAY / 2 ? time : { ...day, ...time }).format(at)
  return locale === 'fr' ? `à partir de : ${told}` : `from ${told}`
}
