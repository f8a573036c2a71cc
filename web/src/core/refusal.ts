// An answer that is no stream becomes an error. The gateway's own bodies are `{error, message?, code, requestId,
// retryAfter?, limit?}`; Claude's are `{error: {type, message}, request_id}`; a proxy's are anything.

import { StreamError } from './errors'
import type { StreamErrorCode } from './types'

// A 502 that only the operator can mend.
const HOPELESS = 'upstream_credential'
const RETRIED = [408, 409, 429]
// The longest body of an error that is read.
const MAX_BODY = 65_536

type Body = {
  error?: string | { type?: string; message?: string }
  message?: string
  code?: string
  requestId?: string
  request_id?: string
  retryAfter?: number
  retryable?: boolean
  limit?: string
}

export async function refusal(response: Response): Promise<StreamError> {
  const { status, headers } = response
  const body = await jsonOf(response)
  const inner = typeof body.error === 'object' ? body.error : { message: body.error }
  const code = body.code ?? inner?.type ?? 'http_error'
  const told = headers.get('x-should-retry')
  return new StreamError(
    code as StreamErrorCode,
    body.message || inner?.message || `The server answered with status ${status}.`,
    {
      retryable: told
        ? told === 'true'
        : (body.retryable ?? (code !== HOPELESS && (status > 499 || RETRIED.includes(status)))),
      retryAfterMs: retryAfterOf(headers, body.retryAfter),
      requestId: body.requestId ?? body.request_id ?? headers.get('x-request-id') ?? undefined,
      limit: body.limit,
      status,
    },
  )
}

/** A body that never ends is cut off by the request's own time limits. */
async function jsonOf(response: Response): Promise<Body> {
  try {
    const text = await response.text()
    return text.length > MAX_BODY ? {} : (Object(JSON.parse(text)) as Body)
  } catch {
    return {}
  }
}

/** `Retry-After` is seconds or a date; another origin's page may see it only in the body. */
function retryAfterOf(headers: Headers, inBody?: number): number | undefined {
  const header = headers.get('retry-after')
  const milliseconds = header
    ? Number(header) * 1000 || Date.parse(header) - Date.now()
    : typeof inBody === 'number'
      ? inBody * 1000
      : Number.NaN
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds)
}
