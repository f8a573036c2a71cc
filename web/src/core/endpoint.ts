import { StreamError } from './errors'

const PATH = '/api/chat/stream'

/** The address to ask: `apiUrl` may be the gateway's address or the endpoint itself, whose path ends in `/stream`. */
export function endpointOf(apiUrl?: string): string {
  // Read when it is needed, and written so that the application's bundler sees it: the value is the application's.
  const given = apiUrl ?? import.meta.env?.VITE_API_URL ?? ''
  if (!given && typeof location === 'undefined') {
    throw new StreamError('invalid_request', 'Outside of a page apiUrl is needed: there is no origin of its own.')
  }
  return /\/stream\/?(\?|$)/.test(given) ? given : given.replace(/\/+$/, '') + PATH
}
