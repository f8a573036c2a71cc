// Node's own `require`, by which packages load each other, finds React 18 where 19 is asked for. What Vite loads goes by
// the alias of vitest.config.ts.

import Module from 'node:module'

const loader = Module as unknown as { _resolveFilename: (request: string, ...rest: unknown[]) => string }
const resolve = loader._resolveFilename
loader._resolveFilename = function (request, ...rest) {
  return resolve.call(this, request.replace(/^(react|react-dom)(?=\/|$)/, '$1-18'), ...rest)
}
