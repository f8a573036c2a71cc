import { useEffect } from 'react'
import type { Locale } from 'tokenweir-client'
import { useKept } from './kept'
import type { PageTexts } from './texts'

interface HeaderProps {
  locale: Locale
  setLocale: (locale: string) => void
  texts: PageTexts
}

export function Header({ locale, setLocale, texts }: HeaderProps) {
  const [theme, setTheme] = useKept('demo-theme', 'system')
  useEffect(() => {
    document.documentElement.dataset.theme = theme
  }, [theme])
  return (
    <header>
      <a className="brand" href="/streaming-demo">
        <img src="/streaming-demo/icon.svg" alt="" width="30" height="30" />
        <span>Tokenweir</span>
      </a>
      <nav>
        <a href="/docs">{texts.reference}</a>
        <select aria-label={texts.language} value={locale} onChange={(event) => setLocale(event.target.value)}>
          <option value="en">English</option>
          <option value="fr">Français</option>
        </select>
        <select aria-label={texts.theme} value={theme} onChange={(event) => setTheme(event.target.value)}>
          <option value="system">{texts.system}</option>
          <option value="light">{texts.light}</option>
          <option value="dark">{texts.dark}</option>
        </select>
      </nav>
    </header>
  )
}
