import { type FormEvent, useState } from 'react'
import type { Locale } from 'tokenweir-client'
import { type Lane, useRace } from './race'
import type { PageTexts } from './texts'

interface ComparisonProps {
  apiKey: string
  locale: Locale
  texts: PageTexts
}

const numberOf = (value: number, locale: Locale, digits: number) =>
  new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value)

export function Comparison({ apiKey, locale, texts }: ComparisonProps) {
  const [question, setQuestion] = useState<string>()
  const { race, start } = useRace(apiKey)
  const asked = question ?? texts.questions[0] ?? ''
  const onSubmit = (event: FormEvent) => {
    event.preventDefault()
    if (!race?.running && asked.trim()) void start(asked)
  }
  const { streamed, whole } = race ?? {}
  const ratio = streamed?.first && whole?.first ? whole.first / streamed.first : undefined
  const longest = Math.max(race?.elapsed ?? 0, streamed?.end ?? 0, whole?.end ?? 0)
  const lane = (name: string, shown: Lane | undefined) => (
    <LaneView
      name={name}
      lane={shown}
      elapsed={race?.elapsed ?? 0}
      longest={longest}
      time={(milliseconds) => texts.clock(numberOf(milliseconds / 1000, locale, 2))}
      texts={texts}
    />
  )
  return (
    <section className="twice" aria-labelledby="twice">
      <h2 id="twice">{texts.twice}</h2>
      <p className="lead">{texts.twiceLead}</p>
      <form onSubmit={onSubmit}>
        <input aria-label={texts.twice} value={asked} onChange={(event) => setQuestion(event.target.value)} />
        <button type="submit" className="primary" disabled={race?.running}>
          {race && !race.running ? texts.again : texts.ask}
        </button>
      </form>
      <div className="lanes">
        {lane(texts.streamed, streamed)}
        {lane(texts.whole, whole)}
      </div>
      <p className="ratio" aria-live="polite">
        {ratio && !race?.running && (
          <>
            <strong>{numberOf(ratio, locale, 1)} ×</strong> {texts.sooner}
          </>
        )}
      </p>
    </section>
  )
}

interface LaneViewProps {
  name: string
  lane?: Lane
  elapsed: number
  longest: number
  time: (milliseconds: number) => string
  texts: PageTexts
}

/** An answer, its two times, and a bar: light while one waits, full while one reads. */
function LaneView({ name, lane, elapsed, longest, time, texts }: LaneViewProps) {
  const shown = (at?: number) => (at === undefined ? (lane && !lane.error ? time(elapsed) : '–') : time(at))
  const first = lane?.first ?? elapsed
  const end = lane?.end ?? elapsed
  return (
    <article className="card lane" aria-label={name}>
      <h3>{name}</h3>
      <dl>
        <div>
          <dt>{texts.wait}</dt>
          <dd data-measured={lane?.first}>{shown(lane?.first)}</dd>
        </div>
        <div>
          <dt>{texts.complete}</dt>
          <dd data-measured={lane?.end}>{shown(lane?.end)}</dd>
        </div>
      </dl>
      <svg className="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
        {lane && longest > 0 && (
          <>
            <rect className="waited" width={(100 * Math.min(first, end)) / longest} height="4" />
            {lane.first !== undefined && (
              <rect
                className="read"
                x={(100 * lane.first) / longest}
                width={Math.max(0.8, (100 * (end - lane.first)) / longest)}
                height="4"
              />
            )}
          </>
        )}
      </svg>
      <p className="text">{lane?.error ?? lane?.text}</p>
    </article>
  )
}
