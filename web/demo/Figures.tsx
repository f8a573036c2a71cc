import type { ChatHandle, Locale } from 'tokenweir-client'
import type { PageTexts } from './texts'

interface FiguresProps {
  chat: ChatHandle
  locale: Locale
  texts: PageTexts
}

/** The figures of the running answer, or of the last one. */
export function Figures({ chat, locale, texts }: FiguresProps) {
  const last = chat.messages.findLast(({ role }) => role === 'assistant')?.metadata
  const now = chat.isStreaming
    ? { first: chat.timeToFirstToken, speed: chat.streamSpeed, tokens: chat.tokenCount, cost: undefined }
    : {
        first: last?.timeToFirstTokenMs,
        speed: last?.tokensPerSecond,
        tokens: last?.tokenCount,
        cost: last?.costUsd,
      }
  const number = (value: number, digits: number) =>
    new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value)
  const price = new Intl.NumberFormat(locale, { style: 'currency', currency: 'USD', maximumSignificantDigits: 2 })
  const figures: [string, string][] = [
    [texts.firstToken, now.first ? texts.clock(number(now.first / 1000, 2)) : '–'],
    [texts.speed, now.speed ? texts.tokensPerSecond(number(now.speed, 1)) : '–'],
    [texts.tokens, now.tokens ? number(now.tokens, 0) : '–'],
    [texts.cost, now.cost === undefined ? '–' : price.format(now.cost)],
  ]
  return (
    <section className="card" aria-labelledby="figures">
      <h2 id="figures">{texts.figures}</h2>
      {chat.isStreaming || last ? (
        <dl className="figures">
          {figures.map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      ) : (
        <p className="quiet">{texts.noFigures}</p>
      )}
    </section>
  )
}
