// Figures as a person reads them.

import type { Locale } from './texts'

export function speedOf(tokensPerSecond: number, locale: Locale): string {
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1, minimumFractionDigits: 1 })
  return `${number.format(tokensPerSecond)} tokens/s`
}

export function timeOf(milliseconds: number, locale: Locale): string {
  const seconds = milliseconds >= 1000
  const number = new Intl.NumberFormat(locale, {
    style: 'unit',
    unit: seconds ? 'second' : 'millisecond',
    maximumFractionDigits: seconds ? 1 : 0,
  })
  return number.format(seconds ? milliseconds / 1000 : milliseconds)
}

export function countOf(count: number, locale: Locale): string {
  return new Intl.NumberFormat(locale).format(count)
}

/** Three significant digits: an answer costs fractions of a cent. */
export function costOf(usd: number, locale: Locale): string {
  const small = usd > 0 && usd < 0.1
  return new Intl.NumberFormat(locale, {
    style: 'currency',
    currency: 'USD',
    ...(small ? { maximumSignificantDigits: 3 } : {}),
  }).format(usd)
}
