// What all parts of one chat share.

import { createContext, useContext } from 'react'
import { type ChatTexts, type Locale, textsOf } from './texts'

export interface Setting {
  locale: Locale
  texts: ChatTexts
}

export const SettingContext = createContext<Setting>({ locale: 'en', texts: textsOf('en') })

export function useSetting(): Setting {
  return useContext(SettingContext)
}

export function useTexts(): ChatTexts {
  return useSetting().texts
}
