// What the components say, in two languages; each text can be replaced.

export type Locale = 'en' | 'fr'

export interface ChatTexts {
  placeholder: string
  send: string
  stop: string
  retry: string
  clear: string
  copy: string
  copied: string
  you: string
  assistant: string
  /** Names the conversation for screen readers. */
  conversation: string
  /** Before there is a message. */
  empty: string
  /** Until the first token. */
  waiting: string
  /** Told to screen readers when an answer is whole. */
  answered: string
  /** Under an answer that was stopped. */
  stopped: string
  /** Under an answer that failed. */
  broken: string
  /** Under an answer that reached its longest length. */
  cut: string
  toLatest: string
  speed: string
  firstToken: string
  tokens: string
  duration: string
  cost: string
  quota: string
  overloaded: string
  offline: string
  interrupted: string
  slow: string
  forbidden: string
  refused: string
  tooLong: string
  failed: string
  /** When to come back, as `in 20 seconds` or a day and time. */
  comeBack: (when: string) => string
  /** For the operator. */
  reference: (requestId: string) => string
}

const EN: ChatTexts = {
  placeholder: 'Ask your question...',
  send: 'Send',
  stop: 'Stop',
  retry: 'Try again',
  clear: 'New conversation',
  copy: 'Copy',
  copied: 'Copied',
  you: 'You',
  assistant: 'Assistant',
  conversation: 'Conversation',
  empty: 'How can I help you?',
  waiting: 'Waiting for the first word',
  answered: 'The answer is complete.',
  stopped: 'Stopped',
  broken: 'Incomplete',
  cut: 'Cut at the longest length',
  toLatest: 'To the latest message',
  speed: 'Speed',
  firstToken: 'First token',
  tokens: 'Tokens',
  duration: 'Duration',
  cost: 'Cost',
  quota: 'You have reached the limit of what you can ask for now.',
  overloaded: 'The assistant is very busy right now.',
  offline: 'The assistant cannot be reached. Check your connection.',
  interrupted: 'The answer was interrupted.',
  slow: 'The answer took too long.',
  forbidden: 'You are not signed in, or not allowed to use this assistant.',
  refused: 'The assistant could not accept this message.',
  tooLong: 'This message or conversation is too long. Shorten it, or start a new conversation.',
  failed: 'Something went wrong.',
  comeBack: (when) => `Try again ${when}.`,
  reference: (requestId) => `Reference: ${requestId}`,
}

const FR: ChatTexts = {
  placeholder: 'Posez votre question...',
  send: 'Envoyer',
  stop: 'Arrêter',
  retry: 'Réessayer',
  clear: 'Nouvelle conversation',
  copy: 'Copier',
  copied: 'Copié',
  you: 'Vous',
  assistant: 'Assistant',
  conversation: 'Conversation',
  empty: 'Comment puis-je vous aider ?',
  waiting: 'En attente du premier mot',
  answered: 'La réponse est complète.',
  stopped: 'Arrêtée',
  broken: 'Incomplète',
  cut: 'Coupée à la longueur maximale',
  toLatest: 'Vers le dernier message',
  speed: 'Vitesse',
  firstToken: 'Premier token',
  tokens: 'Tokens',
  duration: 'Durée',
  cost: 'Coût',
  quota: 'Vous avez atteint la limite de ce que vous pouvez demander pour le moment.',
  overloaded: "L'assistant est très sollicité en ce moment.",
  offline: "L'assistant est injoignable. Vérifiez votre connexion.",
  interrupted: 'La réponse a été interrompue.',
  slow: 'La réponse a pris trop de temps.',
  forbidden: "Vous n'êtes pas connecté, ou n'avez pas accès à cet assistant.",
  refused: "L'assistant n'a pas pu accepter ce message.",
  tooLong: 'Ce message ou cette conversation est trop long. Raccourcissez, ou commencez une nouvelle conversation.',
  failed: "Une erreur s'est produite.",
  comeBack: (when) => `Réessayez ${when}.`,
  reference: (requestId) => `Référence : ${requestId}`,
}

const TEXTS: Record<Locale, ChatTexts> = { en: EN, fr: FR }

/** The language that was asked for, else the page's, else English. */
export function localeOf(asked?: Locale): Locale {
  if (asked) return asked
  const page = typeof document === 'undefined' ? '' : document.documentElement.lang
  return page.toLowerCase().startsWith('fr') ? 'fr' : 'en'
}

export function textsOf(locale: Locale, replaced?: Partial<ChatTexts>): ChatTexts {
  return { ...TEXTS[locale], ...replaced }
}
