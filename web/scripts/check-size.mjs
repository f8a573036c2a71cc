// The core with its parser, as an application's bundler would ship it, fits into 4 KB.

import { gzipSync } from 'node:zlib'
import { build } from 'rolldown'

const LIMIT = 4096
const input = new URL('../dist/core.js', import.meta.url).pathname
const { output } = await build({ input, write: false, platform: 'browser', output: { format: 'esm', minify: true } })
const size = gzipSync(output.map(({ code }) => code).join('\n'), { level: 9 }).length
console.log(`core: ${size} bytes of ${LIMIT}, minified and gzipped`)
if (size > LIMIT) process.exitCode = 1
