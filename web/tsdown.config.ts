import { defineConfig } from 'tsdown'

// Files of their own for what can be left out: who takes the hook alone has neither the components nor their libraries.
// `import.meta.env` stays as it is written: the application that installs the package has the values.
export default defineConfig({
  entry: {
    index: 'src/index.ts',
    core: 'src/core/index.ts',
    react: 'src/react/index.ts',
    components: 'src/components/index.ts',
  },
  format: 'esm',
  platform: 'neutral',
  logLevel: 'warn',
  target: 'es2022',
  fixedExtension: false,
  dts: true,
  sourcemap: true,
  clean: true,
})
