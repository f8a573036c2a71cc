// The deployed client under Node: argv is the API address, the message and the origin of the page that it plays, if any.

import { ChatClient } from "./client.mjs";

const [apiUrl, message, origin] = process.argv.slice(2);
if (origin) {
  // A browser adds it by itself.
  const plain = globalThis.fetch;
  globalThis.fetch = (url, options) => plain(url, { ...options, headers: { ...options.headers, Origin: origin } });
}

const times = [];
const outcome = { kinds: [] };
const onToken = (token, { type }) => {
  outcome.kinds.push(type);
  times.push(performance.now());
};
try {
  outcome.text = await new ChatClient(apiUrl).stream(message, { onToken });
} catch (error) {
  outcome.error = error.message;
}
outcome.moments = new Set(times.map(Math.round)).size;
console.log(JSON.stringify(outcome));
