// Write src/types/gateway.ts from the gateway's docs/openapi.json; `--check` only says whether it is fresh.
// Of the document only what the chat route speaks: the schemas that these reach.

import { readFile, writeFile } from 'node:fs/promises'
import openapiTS, { astToString } from 'openapi-typescript'

const ROOTS = ['ChatRequest', 'ChatFrame', 'ChatAnswer', 'ChatError', 'ErrorCode']
const SOURCE = new URL('../../docs/openapi.json', import.meta.url)
const TARGET = new URL('../src/types/gateway.ts', import.meta.url)
const HEADER = "// Generated from the gateway's docs/openapi.json by `npm run types`. Do not edit.\n\n"

function reachable(schemas) {
  const found = new Set()
  const visit = (value) => {
    for (const [key, inner] of Object.entries(value ?? {})) {
      if (key === '$ref') take(inner.split('/').at(-1))
      else if (typeof inner === 'object') visit(inner)
    }
  }
  const take = (name) => {
    if (found.has(name)) return
    found.add(name)
    visit(schemas[name])
  }
  ROOTS.forEach(take)
  return Object.fromEntries(Object.entries(schemas).filter(([name]) => found.has(name)))
}

// That one of two fields must be there is no type of TypeScript's that helps; a default of null says nothing.
function simplified(schemas) {
  const { anyOf, ...request } = schemas.ChatRequest
  const told = (key, value) => (key === 'default' && value === null ? undefined : value)
  return JSON.parse(JSON.stringify({ ...schemas, ChatRequest: request }, told))
}

async function generate() {
  const { openapi, info, components } = JSON.parse(await readFile(SOURCE, 'utf8'))
  const part = { openapi, info, paths: {}, components: { schemas: reachable(simplified(components.schemas)) } }
  const options = { rootTypes: true, rootTypesNoSchemaPrefix: true, defaultNonNullable: false }
  return HEADER + astToString(await openapiTS(part, options))
}

const fresh = await generate()
if (!process.argv.includes('--check')) {
  await writeFile(TARGET, fresh)
} else if (fresh !== (await readFile(TARGET, 'utf8').catch(() => ''))) {
  console.error('src/types/gateway.ts is not what docs/openapi.json says: npm run types')
  process.exitCode = 1
}
