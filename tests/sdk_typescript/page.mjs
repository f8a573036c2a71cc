// What a page with Claude's TypeScript SDK does; bundled, and called function by function by test_browser_sdk.py.

import Anthropic from "@anthropic-ai/sdk";

const asking = (content, more) => ({
  model: "claude-sonnet-5-5",
  max_tokens: 4096,
  messages: [{ role: "user", content }],
  ...more,
});

const connect = ({ url, key, ...options }) =>
  new Anthropic({ baseURL: url, apiKey: key, dangerouslyAllowBrowser: true, maxRetries: 0, timeout: 30_000, ...options });

// With what a page can tell of an error, and how often the SDK asked.
async function told(options, call) {
  let requests = 0;
  const counting = (...request) => {
    requests += 1;
    return fetch(...request);
  };
  try {
    return { ...(await call(connect({ ...options, fetch: counting }))), requests };
  } catch (error) {
    const headers = Object.fromEntries(error.headers ?? []);
    const { name, status, type, requestID } = error;
    return { error: error.constructor.name, name, status, type, requestID, headers, requests, message: error.message };
  }
}

window.sdk = {
  stream: (options, text, more = {}) =>
    told(options, async (client) => {
      const pieces = [];
      const stream = client.messages.stream(asking(text, more));
      stream.on("text", (piece) => pieces.push([piece, performance.now()]));
      const message = await stream.finalMessage();
      return { pieces, message, id: stream.request_id };
    }),

  create: (options, text, more = {}) =>
    told(options, async (client) => {
      const { data, response } = await client.messages.create(asking(text, more)).withResponse();
      return { message: data, id: data._request_id, headers: Object.fromEntries(response.headers) };
    }),

  beta: (options, text) =>
    told(options, async (client) => ({
      message: await client.beta.messages.create(asking(text, { betas: ["context-1m-2025-08-07"] })),
    })),

  count: (options, text) =>
    told(options, async (client) => {
      const { model, messages } = asking(text);
      return client.messages.countTokens({ model, messages });
    }),

  models: (options) =>
    told(options, async (client) => {
      const names = [];
      for await (const model of client.models.list({ limit: 5 })) names.push(model.id);
      return { names };
    }),

  stop: (options, text) =>
    told(options, async (client) => {
      const stream = client.messages.stream(asking(text));
      stream.once("text", () => stream.abort());
      return { message: await stream.finalMessage() };
    }),
};
