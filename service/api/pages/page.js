// The page at "/": scores one response, ranks several. Texts go into the page as text, never as markup.
"use strict";

const find = (id) => document.getElementById(id);

const EXAMPLES = [
  "Lower it into boiling water, wait six and a half minutes, then cool it in cold water. The yolk stays soft.",
  "Eggs are a food.",
  "Figure it out yourself, that is a stupid question.",
];

const LOADING_RETRY_MS = 2000;

let afterKey = showModel;

function addResponse(text) {
  const row = find("response-row").content.cloneNode(true).firstElementChild;
  row.querySelector("textarea").value = text;
  row.querySelector(".remove").addEventListener("click", () => {
    row.remove();
    numberResponses();
    find("add").focus();
  });
  find("responses").append(row);
  numberResponses();
  return row;
}

function numberResponses() {
  const rows = [...find("responses").children];
  rows.forEach((row, index) => {
    const [label, area, remove] = ["label", "textarea", ".remove"].map((name) => row.querySelector(name));
    area.id = `response-${index + 1}`;
    label.htmlFor = area.id;
    label.textContent = `Response ${index + 1}`;
    remove.setAttribute("aria-label", `Remove response ${index + 1}`);
    remove.hidden = rows.length === 1;
  });
  find("go").textContent = rows.length === 1 ? "Score" : "Rank";
}

function askForKey(target, retry) {
  // The server's own words are for programs (which header to send); here a field to type into follows.
  const [words, kind] = api.hasKey() ? ["That key is not accepted.", "error"] : ["A key is needed.", "hint"];
  afterKey = retry;
  find("key-form").hidden = false;
  find("key").focus();
  target.replaceChildren(api.element("p", words, kind));
}

function showProblem(problem, target, retry) {
  if (problem.status === 401) return askForKey(target, retry);
  target.replaceChildren(api.element("p", problem.message, "error"));
}

async function showModel() {
  try {
    const model = (await api.call("/v1/models")).data[0];
    find("model").textContent = `Model ${model.id}, up to ${model.max_tokens} tokens, ${model.fingerprint}`;
  } catch (problem) {
    showProblem(problem, find("model"), showModel);
    if (problem.status === 503) setTimeout(showModel, LOADING_RETRY_MS);
  }
}

function scoreCard(title, score, details, text) {
  const card = api.element("div", undefined, "card");
  card.append(api.element("div", title), api.element("div", String(score), "score"));
  if (details) card.append(api.element("div", details, "hint"));
  if (text) card.append(api.element("div", text, "quote"));
  return card;
}

function errorCard(title, error) {
  const card = api.element("div", undefined, "card");
  card.append(api.element("div", title), api.element("p", `No score: ${error.message} (${error.code})`, "error"));
  return card;
}

function usageLine(reply) {
  const { tokens, computed_tokens: computed, reused_tokens: reused } = reply.usage;
  const text = `${tokens} tokens, ${computed} computed, ${reused} reused. ${reply.model}, ${reply.fingerprint}`;
  return api.element("p", text, "hint");
}

async function scoreOne(prompt, response) {
  const reply = await api.call("/v1/score", { pairs: [{ prompt, response }] });
  const result = reply.results[0];
  if (result.error) return [errorCard("Response 1", result.error), usageLine(reply)];
  const cut = result.truncated_tokens ? `, ${result.truncated_tokens} cut off` : "";
  const details = `${result.prompt_tokens} prompt tokens, ${result.response_tokens} response tokens${cut}`;
  return [scoreCard("Score", result.score, details, response), usageLine(reply)];
}

async function rankAll(prompt, responses) {
  const reply = await api.call("/v1/rank", { prompt, responses });
  const ranked = reply.results.map((result) => {
    const title = `${result.rank}. Response ${result.index + 1}`;
    return scoreCard(title, result.score, "", responses[result.index]);
  });
  const failed = reply.errors.map((item) => errorCard(`Response ${item.index + 1}`, item.error));
  return [...ranked, ...failed, usageLine(reply)];
}

async function submit() {
  const prompt = find("prompt").value;
  const responses = [...document.querySelectorAll(".response textarea")].map((area) => area.value);
  find("go").disabled = true;
  find("busy").textContent = "Scoring …";
  try {
    const cards = responses.length === 1 ? await scoreOne(prompt, responses[0]) : await rankAll(prompt, responses);
    find("result").replaceChildren(...cards);
  } catch (problem) {
    showProblem(problem, find("result"), submit);
  } finally {
    find("go").disabled = false;
    find("busy").textContent = "";
    if (find("key-form").hidden) find("result").scrollIntoView({ block: "nearest" });
  }
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

find("add").addEventListener("click", () => addResponse("").querySelector("textarea").focus());

find("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  api.setKey(find("key").value);
  find("key-form").hidden = true;
  await showModel();
  if (find("key-form").hidden && afterKey !== showModel) afterKey();
});

find("docs").addEventListener("click", (event) => {
  const key = sessionStorage.getItem("reward-server-key");
  if (!key) return;
  event.preventDefault();
  window.location.assign(`/docs?key=${encodeURIComponent(key)}`);
});

EXAMPLES.forEach(addResponse);
showModel();
