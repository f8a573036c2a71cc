// Builds the demo page into the gateway's package, which serves it without Node; with --check only compares.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const here = fileURLToPath(new URL('../demo', import.meta.url))
const target = new URL('../../gateway/web/static/demo/', import.meta.url)

const { output } = await build({
  root: here,
  configFile: false,
  logLevel: 'warn',
  base: '/streaming-demo/',
  build: {
    write: false,
    target: 'es2022',
    modulePreload: false,
    chunkSizeWarningLimit: 1000,
    rollupOptions: {
      // Packages mark their modules for React's server components, which mean nothing here.
      onLog: (level, log, handle) => log.code === 'MODULE_LEVEL_DIRECTIVE' || handle(level, log),
      output: { entryFileNames: 'demo.js', assetFileNames: 'demo[extname]', codeSplitting: false },
    },
  },
})

let stale = false
await mkdir(target, { recursive: true })
for (const part of output) {
  const content = part.type === 'chunk' ? part.code : part.source
  const file = new URL(part.fileName, target)
  if (!process.argv.includes('--check')) await writeFile(file, content)
  else if ((await readFile(file, 'utf8').catch(() => '')) !== String(content)) {
    console.error(`${fileURLToPath(file)} is not what the sources make: npm run demo --prefix web`)
    stale = true
  }
}
process.exitCode = stale ? 1 : 0
