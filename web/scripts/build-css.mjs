// Writes dist/styles.css: of Tailwind's utilities those that the components name, with the prefix `tw:`.
// Tailwind's compiler alone does, without its command line, whose watcher and scanner are native programs.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compile } from 'tailwindcss'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const themeFile = createRequire(import.meta.url).resolve('tailwindcss/theme.css')
const CLASS = /tw:[^\s'"`]+/g

/** The stylesheet for what the sources below `directories` name, beginning with `css`. */
export async function styles(css, directories) {
  const found = new Set()
  for (const directory of directories) {
    for (const file of (await readdir(directory, { recursive: true })).filter((name) => name.endsWith('.tsx'))) {
      for (const [name] of (await readFile(join(directory, file), 'utf8')).matchAll(CLASS)) found.add(name)
    }
  }
  const compiler = await compile(`@import 'theme' layer(tokenweir) prefix(tw);\n${css}`, {
    loadStylesheet: async () => ({
      path: themeFile,
      base: dirname(themeFile),
      content: await readFile(themeFile, 'utf8'),
    }),
  })
  return compiler.build([...found].sort())
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const css = await styles(await readFile(join(root, 'src/styles.css'), 'utf8'), [join(root, 'src')])
  await mkdir(join(root, 'dist'), { recursive: true })
  await writeFile(join(root, 'dist/styles.css'), css)
}
