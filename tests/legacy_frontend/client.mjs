// The chat client that is deployed in browsers and cannot be changed: what it sends, what it understands, and nothing
// more. Only its API address is set. Used by the page of the tests, and by node.mjs.

const GIVE_UP_AFTER = 60_000;

export class ChatClient {
  constructor(apiUrl) {
    this.apiUrl = apiUrl;
  }

  // Resolves with the whole text; rejects with what went wrong.
  async stream(message, { system, onToken = () => {} } = {}) {
    const query = new URLSearchParams({ message });
    if (system) query.append("system", system);
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new Error("Request timed out")), GIVE_UP_AFTER);
    try {
      const response = await fetch(`${this.apiUrl}/api/chat/stream?${query}`, {
        method: "GET",
        headers: { Accept: "text/event-stream" },
        signal: controller.signal,
      });
      if (!response.ok) throw new Error(`HTTP error! status: ${response.status}`);
      return await this.read(response.body.getReader(), onToken);
    } finally {
      clearTimeout(timer);
    }
  }

  async read(reader, onToken) {
    const decoder = new TextDecoder();
    let buffer = "";
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text; // a clean end is a success, with or without "done"
      buffer += decoder.decode(value, { stream: true });
      const lines = buffer.split("\n");
      buffer = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        const frame = JSON.parse(line.slice(6));
        if (frame.type === "text") {
          text += frame.token;
          onToken(frame.token, frame);
        } else if (frame.type === "error") {
          throw new Error(frame.token);
        } else if (frame.type === "done") {
          onToken("", frame);
          return text;
        }
      }
    }
  }
}
