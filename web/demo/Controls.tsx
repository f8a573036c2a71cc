import type { PageTexts } from './texts'

const PACES = { slow: 4, natural: undefined, fast: 80, full: 500 }
const FAULTS = {
  none: '',
  late: 'time-to-first-token=4s',
  busy: 'status=529; retry-after=5',
  limited: 'status=429; retry-after=10',
  error: 'error-after=10',
  cut: 'reset-after=10',
  long: 'tokens=1000',
}
type Pace = keyof typeof PACES
type Fault = keyof typeof FAULTS

/** How the pretend Claude is to answer; its fault is for one answer. */
export interface Trial {
  pace: Pace
  fault: Fault
}

export const NATURAL: Trial = { pace: 'natural', fault: 'none' }

export function directivesOf({ pace, fault }: Trial): string {
  const speed = PACES[pace]
  return [speed && `tokens-per-second=${speed}`, FAULTS[fault]].filter(Boolean).join('; ')
}

interface ControlsProps {
  trial: Trial
  setTrial: (trial: Trial) => void
  texts: PageTexts
}

export function Controls({ trial, setTrial, texts }: ControlsProps) {
  return (
    <section className="card" aria-labelledby="pretend">
      <h2 id="pretend">{texts.pretend}</h2>
      <p className="quiet">{texts.pretendLead}</p>
      <fieldset className="paces">
        <legend>{texts.pace}</legend>
        {(Object.keys(PACES) as Pace[]).map((pace) => (
          <label key={pace}>
            <input
              type="radio"
              name="pace"
              checked={trial.pace === pace}
              onChange={() => setTrial({ ...trial, pace })}
            />
            <span>{texts.paces[pace]}</span>
          </label>
        ))}
      </fieldset>
      <label className="field">
        {texts.next}
        <select value={trial.fault} onChange={(event) => setTrial({ ...trial, fault: event.target.value as Fault })}>
          {(Object.keys(FAULTS) as Fault[]).map((fault) => (
            <option key={fault} value={fault}>
              {texts.faults[fault]}
            </option>
          ))}
        </select>
      </label>
    </section>
  )
}
