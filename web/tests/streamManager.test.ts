import { expect, test } from 'vitest'
import { StreamManager } from '../src'

test('the speed is tokens per second', () => {
  expect(new StreamManager().calculateSpeed(20, Date.now() - 1000)).toBeCloseTo(20, 0)
})
