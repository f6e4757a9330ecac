// The page works without this: the form is sent and the answer comes as HTML. With it the answer is shown while it is made.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const [form, result, status] = [at("form"), at("result"), at("status")];
  const percent = (p) => `${Math.round(100 * p)}\u00a0%`;
  // every text goes into the page as text
  const node = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const put = (parent, ...children) => { parent.append(...children); return parent; };

  const chosen = () => at("task").selectedOptions[0].dataset;
  function chooseTask() {
    at("label").textContent = chosen().label;
    at("hint").textContent = chosen().hint;
    at("picker").hidden = chosen().terms !== "true";
  }
  at("task").addEventListener("change", chooseTask);
  chooseTask();

  for (const link of document.querySelectorAll("a.example")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      at("task").value = link.dataset.task;
      chooseTask();
      at("text").value = chosen().example;
      at("text").focus();
    });
  }

  // names of terms while one is typed
  let asked = 0;
  at("sign").addEventListener("input", async () => {
    const mine = ++asked, query = at("sign").value.trim();
    if (query.length < 2) return;
    const key = at("key")?.value, headers = key ? { Authorization: `Bearer ${key}` } : {};
    const response = await fetch(`/terms?${new URLSearchParams({ task: at("task").value, query })}`, { headers });
    if (!response.ok || mine !== asked) return;
    const { data } = await response.json();
    at("signs").replaceChildren(...data.map((term) => node("option", term.id, { value: term.name })));
  });
  function add(before) {
    const name = at("sign").value.trim(), text = at("text");
    if (!name) return;
    text.value = text.value.trimEnd() + (text.value.trim() ? "\n" : "") + before + name;
    at("sign").value = "";
    at("sign").focus();
  }
  at("add").addEventListener("click", () => add(""));
  at("addnot").addEventListener("click", () => add("no "));
  at("sign").addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); add(""); }
  });

  function measured(m) {
    if (!m) return "How often this model is right was not measured, or not given to this server.";
    const { value, low, high, n } = m.estimate;
    const metric = { micro_f1: "micro-F1", hit_1: "share whose first disease is right" }[m.metric] ?? m.metric;
    const synthetic = m.synthetic ? " These cases are synthetic: the number says nothing about patients." : "";
    return `Measured on ${n} cases of ${m.corpus}, of one answer to each: ${metric} ${value.toFixed(3)}, 95 % interval ${low.toFixed(3)} to ${high.toFixed(3)} (run ${m.run}).${synthetic}`;
  }

  function label(named, i) {
    const { label, probability: p, evidence } = named;
    let said = node("p", undefined, { class: "evidence" });
    if (evidence?.signs) {
      said = node("ul", undefined, { class: "evidence" });
      for (const { name, excluded, value, reason } of evidence.signs) {
        put(said, node("li", `${excluded ? "not " : ""}${name}: ${value < 0 ? "" : "+"}${value.toFixed(2)}, ${reason}`));
      }
    } else if (evidence) {
      put(said, evidence.mentions ? "Evidence: " : "No sentence names it. The nearest: ", node("a", evidence.text, { href: `#e${i}` }));
      if (evidence.denied) put(said, " ", node("strong", "The sentence denies it."));
    } else put(said, "No sentence of the text speaks of it.");
    const bar = node("meter", undefined, { min: 0, max: 1, value: p.toFixed(4), "aria-label": `${label}: ${percent(p)}` });
    return put(node("li"), node("span", label, { class: "label" }), " ", bar, " ", node("span", percent(p), { class: "number" }), said);
  }

  function marked(text, labels) {
    const chars = Array.from(text), out = node("p", undefined, { class: "marked" });
    const spans = labels.map((l, i) => l.evidence?.start !== undefined && [l.evidence.start, l.evidence.end, i]).filter(Boolean);
    spans.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
    let from = 0, before = [];
    for (const [start, end, i] of spans) {
      const place = node("span", undefined, { id: `e${i}` });
      if (start === before[0] && end === before[1]) put(out, place);
      else if (start >= from) {
        put(out, chars.slice(from, start).join(""), place, node("mark", chars.slice(start, end).join("")));
        from = end;
      }
      before = [start, end];
    }
    return put(out, chars.slice(from).join(""));
  }

  function curl(body, key) {
    const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
    return `curl ${location.origin}/v1/diagnose -H 'Content-Type: application/json'${key ? ' -H "Authorization: Bearer $KEY"' : ""} -d '${quoted}'`;
  }

  function show(d, text, request) {
    result.replaceChildren(node("h2", "Answer"));
    const confidence = d.confidence === null ? "" : percent(d.confidence);
    if (d.abstained) {
      put(result, put(node("p", undefined, { class: "abstained" }), node("strong", "The model abstains."),
        ` Its confidence is ${confidence}, below ${percent(d.threshold)}. What follows is not an answer; it shows what was considered.`));
    }
    for (const warning of d.warnings) put(result, node("p", `Note: ${warning}.`, { class: "warning" }));
    if (d.labels.length) put(result, put(node("ol", undefined, { class: "labels" }), ...d.labels.map(label)));
    else put(result, node("p", "No label was named."));
    put(result,
      node("p", `Percentages: ${d.probabilities}. Confidence ${confidence}: ${d.confidence_is}.`, { class: "small" }),
      node("p", measured(d.measured), { class: "measured" }));
    if (d.labels.some((l) => l.evidence?.start !== undefined)) {
      put(result, node("h3", "The text, with the evidence marked"), marked(text, d.labels));
    }
    if (d.raw !== null) put(result, node("h3", "The model's own words"), node("p", d.raw, { class: "raw" }));
    const rows = node("dl");
    for (const [name, value] of [["Model", d.model], ["Adapter", d.adapter ?? "none"], ["Prompt", d.prompt], ["Task", d.task], ["Corpus", d.corpus]]) {
      put(rows, node("dt", name), put(node("dd"), node("code", value)));
    }
    put(result, put(node("details"), node("summary", "Where this answer comes from, and the same request for a shell"), rows,
      put(node("pre", undefined, { class: "curl", tabindex: 0 }), node("code", request))));
    status.textContent = d.abstained ? "The model abstains." : `The answer is there: ${d.labels.length} ${d.labels.length === 1 ? "label" : "labels"}.`;
    result.focus();
  }

  // The objects of a stream of server-sent events.
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) if (part.startsWith("data: {")) yield JSON.parse(part.slice(6));
    }
  }

  async function ask() {
    const fields = new FormData(form), key = fields.get("key"), text = fields.get("text").replaceAll("\r\n", "\n");
    const body = { task: fields.get("task"), model: fields.get("model"), text };
    const headers = { "Content-Type": "application/json" };
    if (key) headers.Authorization = `Bearer ${key}`;
    const words = node("p", "", { class: "raw" });
    if (chosen().terms !== "true") result.replaceChildren(node("h3", "The model's own words"), words);
    const response = await fetch("/v1/diagnose", { method: "POST", headers, body: JSON.stringify({ ...body, stream: true }) });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      if (event.object === "diagnosis.text") words.textContent = event.text;
      else if (event.object === "diagnosis.samples") status.textContent = `${event.done} of ${event.of} drawn answers are there.`;
      else if (event.object === "diagnosis") return show(event, text, curl(body, key));
    }
    throw new Error("the answer was cut off: ask again");
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    status.textContent = "The model is reading.";
    try {
      await ask();
    } catch (error) {
      status.textContent = "";
      result.replaceChildren(node("p", error.message, { class: "error", role: "alert" }));
    } finally {
      button.disabled = false;
    }
  });
})();
