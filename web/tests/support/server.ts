// A real HTTP server that answers as a test says, and notes what it was asked.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface Asked {
  method: string
  url: string
  headers: IncomingMessage['headers']
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON came
  body: any
  /** Resolves when the client left before the answer's end. */
  gone: Promise<void>
}

export type Answer = (response: Reply, asked: Asked) => unknown

/** An answer in pieces. */
export class Reply {
  constructor(readonly raw: ServerResponse) {}

  stream(headers: Record<string, string> = {}): this {
    this.raw.writeHead(200, { 'Content-Type': 'text/event-stream', ...headers })
    this.raw.flushHeaders()
    return this
  }

  frame(frame: object): this {
    return this.write(`data: ${JSON.stringify({ timestamp: Date.now(), ...frame })}\n\n`)
  }

  write(piece: string | Uint8Array): this {
    this.raw.write(piece)
    return this
  }

  text(...tokens: string[]): this {
    for (const token of tokens) this.frame({ type: 'text', token })
    return this
  }

  done(metadata: object = {}): void {
    this.frame({ type: 'done', token: '', metadata })
    this.raw.end()
  }

  json(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.raw.writeHead(status, { 'Content-Type': 'application/json', ...headers })
    this.raw.end(JSON.stringify(body))
  }

  /** Everything so far reaches the client, then the connection is reset. */
  reset(): void {
    const { socket } = this.raw
    this.raw.write(':\n', () => setTimeout(() => socket?.resetAndDestroy(), 20))
  }
}

export interface Server {
  url: string
  asked: Asked[]
  connections: number
}

/** Answer the first request with the first of `answers`, the last one again for all that follow. */
export async function serve(...answers: Answer[]): Promise<Server> {
  const here: Server = { url: '', asked: [], connections: 0 }
  const server = createServer(async (request, response) => {
    const gone = new Promise<void>((resolve) => {
      response.on('close', () => response.writableFinished || resolve())
    })
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    const { method = '', url = '', headers } = request
    const asked = { method, url, headers, body: text && JSON.parse(text), gone }
    here.asked.push(asked)
    const answer = answers[Math.min(here.asked.length, answers.length) - 1]
    await answer?.(new Reply(response), asked)
  })
  server.on('connection', () => {
    here.connections += 1
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  here.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return here
}
