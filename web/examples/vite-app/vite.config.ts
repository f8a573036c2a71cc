import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const src = fileURLToPath(new URL('src', import.meta.url))
const client = 'tokenweir-client'

// Code that was written against files of its own finds the package in their place. tsconfig.json says the same to
// TypeScript.
export default defineConfig({
  resolve: {
    alias: [
      { find: '@/components/StreamingChat', replacement: client },
      { find: '@/hooks/useStreamingChat', replacement: client },
      { find: '@/services/streaming/streamManager', replacement: `${client}/core` },
      { find: '@', replacement: src },
    ],
  },
  // In development the page asks its own origin, and Vite passes it on to `tokenweir demo`.
  server: { proxy: { '/api': 'http://127.0.0.1:8080' } },
})
