// Install the packed client into examples/vite-app, as its users do; writes the example's lock file. Its entry of the
// client has no hash: the tarball is another one after each change.

import { execFileSync } from 'node:child_process'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

const example = new URL('../examples/vite-app/', import.meta.url)
const run = (cwd, ...args) => execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

const packed = run(new URL('..', import.meta.url), 'pack', '--silent', '--pack-destination', example.pathname)
  .trim()
  .split('\n')
  .at(-1)
renameSync(new URL(packed, example), new URL('tokenweir-client.tgz', example))
// npm would keep the one that it knows.
rmSync(new URL('node_modules/tokenweir-client', example), { recursive: true, force: true })
run(example, 'install', '--silent', 'tokenweir-client@file:tokenweir-client.tgz')
const lock = new URL('package-lock.json', example)
const { packages, ...rest } = JSON.parse(readFileSync(lock, 'utf8'))
delete packages['node_modules/tokenweir-client'].integrity
writeFileSync(lock, `${JSON.stringify({ ...rest, packages }, null, 2)}\n`)
