import { defineConfig } from 'tsdown'

// One file for each entry point of package.json. `import.meta.env` stays as it is written: the application that installs
// the package has the values.
export default defineConfig({
  entry: { index: 'src/index.ts', core: 'src/core/index.ts' },
  format: 'esm',
  platform: 'neutral',
  logLevel: 'warn',
  target: 'es2022',
  fixedExtension: false,
  dts: true,
  sourcemap: true,
  clean: true,
  copy: [{ from: 'src/styles.css', to: 'dist' }],
})
