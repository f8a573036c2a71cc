import { defineConfig } from 'vitest/config'

const common = { testTimeout: 15_000, restoreMocks: true }
const older = ['react', 'react-dom'].map((name) => ({
  find: new RegExp(`^${name}(?=/|$)`),
  replacement: `${name}-18`,
}))

// Both versions of React that are supported; what does not touch React is run once.
export default defineConfig({
  test: {
    projects: [
      { test: { ...common, name: 'client', include: ['tests/**/*.test.{ts,tsx}'] } },
      {
        resolve: { alias: older },
        test: {
          ...common,
          name: 'react 18',
          // Packages that load React go by the alias too.
          server: { deps: { inline: [/streamdown/] } },
          include: ['tests/{react,components}/*.test.tsx'],
          env: { REACT: '18' },
          setupFiles: ['tests/support/react18.ts'],
        },
      },
    ],
  },
})
