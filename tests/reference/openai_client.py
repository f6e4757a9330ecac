"""PyPI's `openai` client against a running `dxlab serve`: what it sends is taken, what it gets it can read.

    dxlab serve --model smollm2 --port 8080 &
    python tests/reference/openai_client.py http://127.0.0.1:8080/v1 smollm2

Wants `pip install openai`. Prints a line per check and fails at the first that is wrong. Run once with openai 2.x on SmolLM2; no golden
values come out of it.
"""
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import openai

url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=url, api_key=sys.argv[3] if len(sys.argv) > 3 else "none", max_retries=0)
question = [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Which organ makes bile?"}]


def check(name, right, shown=""):
    print(f"{'ok  ' if right else 'FAIL'} {name} {shown}")
    if not right:
        sys.exit(1)


def refused(name, error, **more):
    try:
        client.chat.completions.create(**{"model": model, "messages": question, "max_tokens": 2, **more})
    except error as e:
        return check(name, True, str(e)[:90])
    check(name, False)


names = [m.id for m in client.models.list()]
check("models", model in names, names)
check("one model", client.models.retrieve(model).id == model)

whole = client.chat.completions.create(model=model, messages=question, max_tokens=16, temperature=0, logprobs=True, top_logprobs=3)
text = whole.choices[0].message.content
tokens = whole.choices[0].logprobs.content
check("chat", len(text) > 0 and whole.choices[0].finish_reason in ("stop", "length"), repr(text))
check("logprobs", bytes(b for t in tokens for b in t.bytes).decode() == text and all(len(t.top_logprobs) == 3 for t in tokens))
check("usage", whole.usage.completion_tokens == len(tokens) and whole.usage.total_tokens == whole.usage.prompt_tokens + len(tokens))

stream = client.chat.completions.create(model=model, messages=question, max_tokens=16, temperature=0, stream=True)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
check("stream", streamed == text, repr(streamed))
chunks = list(client.chat.completions.create(model=model, messages=question, max_tokens=4, stream=True, stream_options={"include_usage": True}))
check("stream with usage", chunks[-1].usage.completion_tokens > 0 and chunks[-1].choices == [])

several = client.chat.completions.create(model=model, messages=question, n=3, seed=7, temperature=1.2, max_tokens=12)
again = client.chat.completions.create(model=model, messages=question, n=3, seed=7, temperature=1.2, max_tokens=12)
said = [c.message.content for c in several.choices]
check("n and seed", len(set(said)) > 1 and said == [c.message.content for c in again.choices], said)

stopped = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Count: one, two, three, four"}], temperature=0, max_tokens=40, stop=["three"])
check("stop", "three" not in stopped.choices[0].message.content)

schema = {"type": "object", "properties": {"organ": {"type": "string", "maxLength": 12}, "sure": {"type": "boolean"}}, "required": ["organ", "sure"], "additionalProperties": False}
held = client.chat.completions.create(model=model, messages=question, max_tokens=60, temperature=0, response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}})
check("json schema", set(json.loads(held.choices[0].message.content)) == {"organ", "sure"}, held.choices[0].message.content)
one = client.chat.completions.create(model=model, messages=question, max_tokens=12, temperature=0, extra_body={"choices": ["liver", "spleen", "kidney"]})
check("closed list", one.choices[0].message.content in ("liver", "spleen", "kidney"), one.choices[0].message.content)

plain = client.completions.create(model=model, prompt="The liver makes", max_tokens=8, temperature=0, logprobs=2)
check("completions", len(plain.choices[0].text) > 0 and len(plain.choices[0].logprobs.tokens) == len(plain.choices[0].logprobs.token_logprobs), repr(plain.choices[0].text))

encoders = [name for name in names if name not in (model,) and client.models.retrieve(name).model_extra.get("embeddings")]
if encoders:
    near, also, far = (e.embedding for e in client.embeddings.create(model=encoders[0], input=["renal cyst", "cyst of the kidney", "a sunny day"]).data)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    check("embeddings", abs(dot(near, near) - 1) < 1e-3 and dot(near, also) > dot(near, far), f"{dot(near, also):.3f} > {dot(near, far):.3f}")
else:
    print("--   embeddings: no encoder is served")

refused("unknown model", openai.NotFoundError, model="gpt-4")
refused("tools", openai.BadRequestError, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
refused("penalty", openai.BadRequestError, frequency_penalty=0.5)
refused("temperature", openai.BadRequestError, temperature=-1)

with ThreadPoolExecutor(16) as pool:
    ask = lambda i: client.chat.completions.create(model=model, messages=question, seed=i % 4, temperature=1.0, max_tokens=12).choices[0].message.content
    many = list(pool.map(ask, range(32)))
check("32 at once, the same seed the same text", all(many[i] == many[i % 4] for i in range(32)), many[:4])
