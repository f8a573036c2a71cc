import type { StreamError } from '../core'
import { useSetting } from './setting'
import { troubleOf, whenOf } from './trouble'
import { useCountdown } from './useCountdown'

interface ErrorNoticeProps {
  error: StreamError
  onRetry: () => void
}

/** What went wrong, when it can be tried again, and a button for that. */
export function ErrorNotice({ error, onRetry }: ErrorNoticeProps) {
  const { locale, texts } = useSetting()
  const left = useCountdown(error, error.retryAfterMs)
  return (
    <div className="tw:flex tw:flex-wrap tw:items-center tw:gap-3 tw:rounded-xl tw:border tw:border-chat-error tw:bg-chat-surface tw:px-4 tw:py-3">
      <div className="tw:min-w-48 tw:flex-1">
        <p role="alert" className="tw:m-0">
          {troubleOf(error, texts)}
        </p>
        {left > 0 && <p className="tw:m-0 tw:text-chat-muted">{texts.comeBack(whenOf(left, locale))}</p>}
        {error.requestId && (
          <p className="tw:m-0 tw:mt-1 tw:break-all tw:text-xs tw:text-chat-muted">
            {texts.reference(error.requestId)}
          </p>
        )}
      </div>
      {error.retryable && (
        <button
          type="button"
          onClick={onRetry}
          disabled={left > 0}
          className="tw:cursor-pointer tw:rounded-lg tw:border tw:border-chat-line tw:bg-transparent tw:px-3 tw:py-1.5 tw:text-chat-text tw:hover:bg-chat-code tw:disabled:cursor-default tw:disabled:opacity-60"
        >
          {texts.retry}
        </button>
      )}
    </div>
  )
}
