import { costOf, countOf, speedOf, timeOf } from './figures'
import { useSetting } from './setting'
import { type ChatTexts, type Locale, localeOf, textsOf } from './texts'

export interface StreamingStatsProps {
  /** Tokens per second. */
  streamSpeed: number
  totalTokens: number
  /** Milliseconds; left out while 0. */
  timeToFirstToken?: number
  /** Milliseconds. */
  durationMs?: number
  costUsd?: number
  locale?: Locale
  texts?: Partial<ChatTexts>
  className?: string
}

/** The figures of an answer, as they grow. */
export function StreamingStats(props: StreamingStatsProps) {
  const { streamSpeed, totalTokens, timeToFirstToken, durationMs, costUsd, className = '' } = props
  const around = useSetting()
  const locale = props.locale ?? (props.texts ? localeOf() : around.locale)
  const texts = props.locale || props.texts ? textsOf(locale, props.texts) : around.texts
  const figures: [string, string][] = [[texts.speed, speedOf(streamSpeed, locale)]]
  if (timeToFirstToken) figures.push([texts.firstToken, timeOf(timeToFirstToken, locale)])
  figures.push([texts.tokens, countOf(totalTokens, locale)])
  if (durationMs) figures.push([texts.duration, timeOf(durationMs, locale)])
  if (costUsd !== undefined) figures.push([texts.cost, costOf(costUsd, locale)])
  return (
    <dl
      className={`tokenweir tw:m-0 tw:flex tw:flex-wrap tw:gap-x-4 tw:gap-y-1 tw:text-xs tw:text-chat-muted ${className}`}
    >
      {figures.map(([name, value]) => (
        <div key={name} className="tw:flex tw:gap-1.5">
          <dt>{name}</dt>
          <dd className="tw:m-0 tw:font-medium tw:tabular-nums tw:text-chat-text">{value}</dd>
        </div>
      ))}
    </dl>
  )
}
