import type { PageTexts } from './texts'

interface AccessProps {
  value: string
  setValue: (value: string) => void
  /** The gateway has refused a request without a key. */
  asked: boolean
  texts: PageTexts
}

export function Access({ value, setValue, asked, texts }: AccessProps) {
  return (
    <details className="card access" open={asked || value !== ''}>
      <summary>{texts.access}</summary>
      <p className="quiet" id="access-lead">
        {texts.accessLead}
      </p>
      <form onSubmit={(event) => event.preventDefault()}>
        <input
          type="password"
          aria-label={texts.access}
          aria-describedby="access-lead"
          autoComplete="off"
          spellCheck={false}
          placeholder="tw_…"
          value={value}
          onChange={(event) => setValue(event.target.value.trim())}
        />
      </form>
    </details>
  )
}
