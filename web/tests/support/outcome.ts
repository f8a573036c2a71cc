import { StreamError } from '../../src/core'

/** The error that the promise rejects with; it must be one of ours. */
export async function failure(promise: Promise<unknown>): Promise<StreamError> {
  const error = await promise.then(
    () => new Error('it did not fail'),
    (error: unknown) => error,
  )
  if (error instanceof StreamError) return error
  throw error
}
