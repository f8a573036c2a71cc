import { version } from 'react'
import { version as rendered } from 'react-dom'
import { expect, test } from 'vitest'

test('React is the version that the project names', () => {
  const wanted = process.env.REACT ?? '19'
  expect([version.split('.')[0], rendered.split('.')[0]]).toEqual([wanted, wanted])
})
