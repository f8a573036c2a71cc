// Claude's TypeScript SDK under Node, pointed at a gateway by its address and one of our keys.
// The gateway, and the pretend Claude behind it, are started by test_node_sdk.py, which says here where they are.

import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";

const { GATEWAY_URL, SIMULATOR_URL, KEY, KEY_OF_ONE, KEY_ALONE, KEY_SMALL } = process.env;
const MODEL = "claude-sonnet-5-5";
const WEATHER = {
  name: "get_weather",
  description: "Current weather of a place",
  input_schema: {
    type: "object",
    properties: { location: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
    required: ["location", "unit"],
  },
};

const connect = (options = {}) =>
  new Anthropic({ baseURL: GATEWAY_URL, apiKey: KEY, authToken: null, maxRetries: 0, timeout: 30_000, ...options });
const asking = (content, more = {}) => ({
  model: MODEL,
  max_tokens: 4096,
  messages: [{ role: "user", content }],
  ...more,
});
const stats = async () => (await fetch(`${SIMULATOR_URL}/_sim/stats`)).json();

async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("it did not throw");
}

// A fetch that counts requests and tells of each answer.
function watching(onAnswer = () => {}) {
  const watched = async (...request) => {
    watched.requests += 1;
    const answer = await fetch(...request);
    onAnswer(answer);
    return answer;
  };
  watched.requests = 0;
  return watched;
}

for (const [name, options] of Object.entries({
  apiKey: { apiKey: KEY },
  authToken: { apiKey: null, authToken: KEY },
  "x-api-key": { apiKey: null, defaultHeaders: { "x-api-key": KEY } },
})) {
  test(`one of our keys is enough as ${name}`, async () => {
    const message = await connect(options).messages.create(asking("What are your opening hours?"));
    assert.match(message.content[0].text, /^We are open Monday to Friday/);
    assert.match(message._request_id, /^req_011C/);
  });
}

test("a stream and a whole message say the same", async () => {
  const client = connect();
  const pieces = [];
  const stream = client.messages.stream(asking("What are your opening hours?")).on("text", (text) => pieces.push(text));
  const streamed = await stream.finalMessage();
  const whole = await client.messages.create(asking("What are your opening hours?"));
  assert.equal(pieces.join(""), whole.content[0].text);
  assert.equal(streamed.content[0].text, whole.content[0].text);
  assert.deepEqual(
    [streamed.stop_reason, streamed.model, streamed.usage.output_tokens],
    [whole.stop_reason, MODEL, whole.usage.output_tokens],
  );
  assert.match(stream.request_id, /^req_011C/);
});

test("raw events come in order, with those that the SDK does not know", async () => {
  const events = [];
  for await (const event of await connect().messages.create(asking("Hi [[sim: unknown-after=2]]", { stream: true }))) {
    events.push(event.type);
  }
  assert.equal(events[0], "message_start");
  assert.equal(events.at(-1), "message_stop");
  const known = /^(message|content_block)_/;
  assert.equal(events.filter((type) => !known.test(type)).length, 1);
});

test("a tool is used and its result is answered in text", async () => {
  const client = connect();
  const question = asking("What is the weather in San Francisco?", { tools: [WEATHER] });
  const deltas = [];
  const first = await client.messages.stream(question).on("inputJson", (piece) => deltas.push(piece)).finalMessage();
  const use = first.content.at(-1);
  assert.equal(first.stop_reason, "tool_use");
  assert.deepEqual(use.input, { location: "San Francisco", unit: "celsius" });
  assert.deepEqual(JSON.parse(deltas.join("")), use.input);
  const result = { type: "tool_result", tool_use_id: use.id, content: "17 degrees, fog" };
  const turns = [
    { role: "assistant", content: first.content },
    { role: "user", content: [result] },
  ];
  const second = await client.messages.create({ ...question, messages: [...question.messages, ...turns] });
  assert.match(second.content[0].text, /17 degrees, fog/);
});

test("the SDK's own tool runner works, with the whole conversation instead of a thread", async () => {
  const run = ({ location }) => `17 degrees and fog in ${location}`;
  const tools = [{ ...WEATHER, type: "custom", run, parse: (input) => input }];
  const message = await connect().beta.messages.toolRunner(asking("What is the weather in Paris?", { tools }));
  assert.match(message.content[0].text, /17 degrees and fog in Paris/);
});

test("thinking comes signed before the text", async () => {
  const thinking = { type: "enabled", budget_tokens: 1024 };
  const message = await connect().messages.stream(asking("Explain tides", { thinking })).finalMessage();
  assert.deepEqual(message.content.map((block) => block.type), ["thinking", "text"]);
  assert.match(message.content[0].thinking, /tides/);
  assert.ok(message.content[0].signature);
  assert.ok(message.usage.output_tokens_details.thinking_tokens > 0);
});

test("counted tokens are those of the request", async () => {
  const client = connect();
  const question = asking("How many tokens is this?");
  const counted = await client.messages.countTokens({ model: MODEL, messages: question.messages });
  const message = await client.messages.create(question);
  assert.equal(counted.input_tokens, message.usage.input_tokens);
});

test("models are listed page by page and one by one", async () => {
  const client = connect();
  const names = [];
  for await (const model of client.models.list({ limit: 5 })) names.push(model.id);
  assert.ok(names.length > 10);
  assert.equal((await client.models.retrieve(names[0])).id, names[0]);
});

test("betas and cache usage go through the beta client", async () => {
  const system = [{ type: "text", text: "Be kind. ".repeat(50), cache_control: { type: "ephemeral" } }];
  const question = asking("Hello", { system, betas: ["context-1m-2025-08-07"] });
  const client = connect();
  const first = await client.beta.messages.create(question);
  const second = await client.beta.messages.stream(question).finalMessage();
  assert.ok(first.usage.cache_creation_input_tokens > 100);
  assert.equal(second.usage.cache_read_input_tokens, first.usage.cache_creation_input_tokens);
});

for (const streamed of [true, false]) {
  test(`a document of 30 MB is answered, ${streamed ? "streamed" : "whole"}`, async () => {
    const source = { type: "base64", media_type: "application/pdf", data: "JVBERi0x".repeat(30_000_000 / 8) };
    const content = [{ type: "document", source }, { type: "text", text: "What are your opening hours?" }];
    const { messages } = connect();
    const message = await (streamed ? messages.stream(asking(content)).finalMessage() : messages.create(asking(content)));
    assert.match(message.content[0].text, /^We are open/);
    assert.ok(message.usage.input_tokens > 500_000);
  });
}

test("a document over 32 MiB is too large, and is not sent again", async () => {
  const source = { type: "base64", media_type: "application/pdf", data: "JVBERi0x".repeat(34_000_000 / 8) };
  const watched = watching();
  const client = connect({ maxRetries: 2, fetch: watched });
  const error = await rejection(client.messages.create(asking([{ type: "document", source }])));
  assert.ok(error instanceof Anthropic.ContentTooLargeError, String(error));
  assert.equal(error.type, "request_too_large");
  assert.equal(watched.requests, 1);
});

test("a wrong key is an AuthenticationError, and is not tried again", async () => {
  const watched = watching();
  const client = connect({ apiKey: "sk-ant-not-ours", maxRetries: 2, fetch: watched });
  const error = await rejection(client.messages.create(asking("Hello")));
  assert.ok(error instanceof Anthropic.AuthenticationError, String(error));
  assert.equal(error.type, "authentication_error");
  assert.match(error.requestID, /^req_gw/);
  assert.equal(watched.requests, 1);
});

test("a model outside the plan is a PermissionDeniedError", async () => {
  const error = await rejection(connect({ apiKey: KEY_SMALL }).messages.create(asking("Hello")));
  assert.ok(error instanceof Anthropic.PermissionDeniedError, String(error));
  assert.match(error.message, /does not include the model/);
});

test("a route that is not served is a NotFoundError that names the ones that are", async () => {
  const error = await rejection(connect().messages.batches.list());
  assert.ok(error instanceof Anthropic.NotFoundError, String(error));
  assert.match(error.message, /POST \/v1\/messages/);
});

for (const [directive, kind, status] of [
  ["status=400", "BadRequestError", 400],
  ["error=not_found_error", "NotFoundError", 404],
  ["status=429; retry-after=7", "RateLimitError", 429],
  ["status=500", "InternalServerError", 500],
  ["status=529", "OverloadedError", 529],
  ["status=401", "InternalServerError", 502],
]) {
  test(`Claude's ${directive} is a ${kind}`, async () => {
    const error = await rejection(connect().messages.create(asking(`Hello [[sim: ${directive}; should-retry=false]]`)));
    assert.ok(error instanceof Anthropic[kind], String(error));
    assert.equal(error.status, status);
    if (status !== 502) assert.match(error.requestID, /^req_011C/);
    if (status === 429) assert.equal(error.headers.get("retry-after"), "7");
  });
}

test("a short trouble of Claude's is cured by the gateway, unseen", async () => {
  const watched = watching();
  const client = connect({ fetch: watched });
  const message = await client.messages.create(asking("Hello [[sim: status=529; retry-after=0.01; count=2; id=node]]"));
  assert.equal(message.stop_reason, "end_turn");
  assert.equal(watched.requests, 1);
});

test("what Claude says shall not be retried is retried by nobody", async () => {
  const before = await stats();
  const watched = watching();
  const client = connect({ maxRetries: 2, fetch: watched });
  await rejection(client.messages.create(asking("Hello [[sim: status=529; should-retry=false]]")));
  assert.equal(watched.requests, 1);
  assert.equal((await stats()).refused, before.refused + 1);
});

test("a limit of ours says when to come back, in headers that the SDK heeds", async () => {
  const client = connect({ apiKey: KEY_OF_ONE });
  await client.messages.create(asking("Hello"));
  const error = await rejection(client.messages.create(asking("Hello")));
  assert.ok(error instanceof Anthropic.RateLimitError, String(error));
  assert.equal(error.type, "rate_limit_error");
  const wait = Number(error.headers.get("retry-after"));
  assert.ok(wait >= 1 && wait <= 60, String(wait));
  assert.ok(error.headers.get("ratelimit-policy"));
});

test("a call that was refused for another one's sake is answered when the SDK comes back", async () => {
  const first = connect({ apiKey: KEY_ALONE }).messages.stream(asking("Hello [[sim: stall-after=2]]"));
  first.on("error", () => {});
  first.on("abort", () => {});
  await new Promise((resolve) => first.once("text", resolve));
  const statuses = [];
  const watched = watching((answer) => {
    statuses.push(answer.status);
    if (answer.status === 429) first.abort();
  });
  const message = await connect({ apiKey: KEY_ALONE, maxRetries: 5, fetch: watched }).messages.create(asking("Hello"));
  assert.deepEqual([statuses[0], statuses.at(-1)], [429, 200]);
  assert.equal(message.stop_reason, "end_turn");
});

test("an error in mid-stream throws, with Claude's type", async () => {
  const watched = watching();
  const client = connect({ maxRetries: 2, fetch: watched });
  const pieces = [];
  const stream = client.messages.stream(asking("Hello [[sim: error-after=3]]")).on("text", (text) => pieces.push(text));
  const error = await rejection(stream.finalMessage());
  assert.ok(error instanceof Anthropic.APIError, String(error));
  assert.equal(error.type, "overloaded_error");
  assert.equal(pieces.length, 3);
  assert.equal(watched.requests, 1);
});

for (const fault of ["cut-after=3", "end-after=3", "reset-after=3"]) {
  test(`a stream with ${fault} throws and is never a message that looks complete`, async () => {
    const error = await rejection(connect().messages.stream(asking(`Hello [[sim: ${fault}]]`)).finalMessage());
    assert.ok(error instanceof Anthropic.APIError, String(error));
    assert.equal(error.type, "api_error");
  });
}

test("a client that stops ends the call to Claude", async () => {
  const before = await stats();
  const stream = connect().messages.stream(asking("Hello [[sim: stall-after=2]]"));
  stream.once("text", () => stream.abort());
  const error = await rejection(stream.finalMessage());
  assert.ok(error instanceof Anthropic.APIUserAbortError, String(error));
  const patience = AbortSignal.timeout(20_000);
  while ((await stats()).cancelled === before.cancelled) patience.throwIfAborted();
});

test("a time limit of the SDK ends in its own timeout error", async () => {
  const client = connect({ timeout: 300 });
  const error = await rejection(client.messages.create(asking("Hello [[sim: slow-headers=20s]]")));
  assert.ok(error instanceof Anthropic.APIConnectionTimeoutError, String(error));
});
