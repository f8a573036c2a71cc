import { useEffect, useMemo, useRef, useState } from 'react'
import { ChatView, type Locale, useStreamingChat } from 'tokenweir-client'
import { Access } from './Access'
import { Comparison } from './Comparison'
import { Controls, directivesOf, NATURAL, type Trial } from './Controls'
import { Figures } from './Figures'
import { type About, about, directing } from './gateway'
import { Header } from './Header'
import { useKept } from './kept'
import { Snippets } from './Snippets'
import { TEXTS } from './texts'

export function Page() {
  const [locale, setLocale] = useKept('demo-language', navigator.language.startsWith('fr') ? 'fr' : 'en')
  const [key, setKey] = useKept('demo-key', '')
  const [trial, setTrial] = useState<Trial>(NATURAL)
  const [here, setHere] = useState<About>()
  const texts = TEXTS[locale as Locale]
  useEffect(() => {
    document.documentElement.lang = locale
  }, [locale])
  useEffect(() => {
    about().then(setHere, () => {})
  }, [])

  const latest = useRef(trial)
  latest.current = trial
  const fetching = useMemo(
    () =>
      directing(() => {
        const directives = directivesOf(latest.current)
        setTrial((now) => ({ ...now, fault: 'none' }))
        return directives
      }),
    [],
  )
  const chat = useStreamingChat({ persist: 'demo', fetch: fetching, getToken: () => key })
  const examples = (
    <div className="examples">
      <p>{texts.examples}</p>
      {texts.questions.map((question) => (
        <button key={question} type="button" onClick={() => chat.sendMessage(question)}>
          {question}
        </button>
      ))}
    </div>
  )
  return (
    <>
      <Header locale={locale as Locale} setLocale={setLocale} texts={texts} />
      <main>
        <section className="hero">
          <h1>{texts.title}</h1>
          <p>{texts.lead}</p>
        </section>
        <section className="try" aria-label={texts.chat}>
          <ChatView chat={chat} locale={locale as Locale} className="card chat" emptyState={examples} />
          <div className="side">
            <Figures chat={chat} locale={locale as Locale} texts={texts} />
            {here?.pretend && <Controls trial={trial} setTrial={setTrial} texts={texts} />}
            <Access value={key} setValue={setKey} asked={chat.error?.status === 401} texts={texts} />
          </div>
        </section>
        <Comparison apiKey={key} locale={locale as Locale} texts={texts} />
        <Snippets texts={texts} />
      </main>
      <footer>{here && <p>Tokenweir {here.version}</p>}</footer>
    </>
  )
}
