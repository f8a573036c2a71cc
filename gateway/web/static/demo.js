// Streams answers of this gateway the way the existing frontends do: a GET, and of its answer the lines that start
// with "data: ". A stream that ends without a "done" or "error" frame was cut, and is told as an error.

const find = (id) => document.getElementById(id);
const transcript = find("transcript");
const message = find("message");
const send = find("send");
const stop = find("stop");

let running = null; // the AbortController of the answer that is streaming
let waiting = 0; // the timer that counts down to the next try

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(message.value.trim());
});
message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("composer").requestSubmit();
  }
});
stop.addEventListener("click", () => running?.abort());
for (const example of find("examples").children) {
  example.addEventListener("click", () => ask(example.textContent));
}

async function ask(text) {
  if (!text || running || waiting) return;
  find("welcome")?.remove();
  message.value = "";
  add("p", "question", text);
  const answer = new Answer();
  running = new AbortController();
  busy(true);
  try {
    await stream(text, answer, running.signal);
  } catch (error) {
    if (error.name === "AbortError") answer.end("stopped");
    else answer.fail(error.message, error.retryAfter);
  } finally {
    running = null;
    busy(false);
  }
}

function busy(on) {
  stop.hidden = !on;
  send.hidden = on;
  (on ? stop : message).focus();
}

async function stream(text, answer, signal) {
  const key = find("key").value.trim();
  const headers = { Accept: "text/event-stream", ...(key && { Authorization: `Bearer ${key}` }) };
  const query = new URLSearchParams({ message: text });
  const response = await fetch(`/api/chat/stream?${query}`, { headers, signal }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The gateway cannot be reached.");
  });
  if (!response.ok) throw await refusal(response);
  let done = null; // what follows is the end of the body: read, so that the connection can be used again
  for await (const frame of frames(response.body)) {
    if (frame.type === "text") answer.append(frame.token);
    else if (frame.type === "done") done = frame;
    else if (frame.type === "error") throw problem(frame.token, (frame.metadata?.retryAfterMs ?? 0) / 1000);
  }
  if (done === null) throw new Error("The answer was cut before its end.");
  answer.end("done", done.metadata);
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) find("access").open = true;
  const said = [body.error, body.message].filter(Boolean).join(": ") || `Status ${response.status}`;
  return problem(said, body.retryAfter ?? Number(response.headers.get("Retry-After")));
}

function problem(sentence, seconds) {
  return Object.assign(new Error(sentence), { retryAfter: seconds });
}

async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error("The connection broke.");
    });
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
    }
  }
}

function add(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  transcript.append(element);
  element.scrollIntoView({ block: "end" });
  return element;
}

class Answer {
  constructor() {
    this.asked = performance.now();
    this.first = null; // when the first token came
    this.tokens = 0;
    this.box = add("div", "answer running");
    [this.text, this.trouble, this.stats] = ["text", "problem", "stats"].map((name) => {
      const part = document.createElement("p");
      part.className = name;
      this.box.append(part);
      return part;
    });
    this.trouble.setAttribute("role", "alert");
    this.show("waiting");
  }

  append(token) {
    const atEnd = transcript.scrollHeight - transcript.scrollTop - transcript.clientHeight < 80;
    this.first ??= performance.now();
    this.tokens += 1;
    this.text.append(token);
    this.show();
    if (atEnd) transcript.scrollTop = transcript.scrollHeight;
  }

  end(how, metadata) {
    this.box.classList.remove("running");
    this.show(how === "done" ? metadata?.model : how, metadata);
  }

  fail(sentence, seconds) {
    this.end("failed");
    this.trouble.textContent = sentence;
    if (seconds > 0) countDown(this.trouble, sentence, Math.ceil(seconds));
    this.box.scrollIntoView({ block: "end" });
  }

  show(note, metadata) {
    const parts = [];
    if (this.first !== null) {
      const seconds = (performance.now() - this.first) / 1000;
      const tokens = metadata?.usage?.outputTokens ?? this.tokens;
      parts.push(`first token after ${Math.round(this.first - this.asked)} ms`, `${tokens} tokens`);
      if (seconds > 0.05) parts.push(`${(tokens / seconds).toFixed(1)} tokens/s`);
    }
    if (note) parts.push(note);
    this.stats.textContent = parts.join(" · ");
  }
}

function countDown(element, sentence, seconds) {
  const end = performance.now() + seconds * 1000;
  send.disabled = true;
  const tick = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    element.textContent = left > 0 ? `${sentence} Try again in ${left} s.` : `${sentence} You can try again now.`;
    if (left > 0) return;
    clearInterval(waiting);
    waiting = 0;
    send.disabled = false;
  };
  waiting = setInterval(tick, 250);
  tick();
}
