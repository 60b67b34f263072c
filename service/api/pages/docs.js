// The page at "/docs": every operation of /openapi.json with its fields and worked examples.
"use strict";

const { element } = api;

function example(title, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return [element("h2", title), element("pre", text)];
}

function fieldItems(schema, schemas) {
  const name = (schema?.$ref ?? "").split("/").pop();
  const list = element("ul");
  for (const [field, about] of Object.entries(schemas[name]?.properties ?? {})) {
    const item = element("li");
    const standard = about.default === undefined ? "" : ` (default ${JSON.stringify(about.default)})`;
    item.append(element("code", field), standard, about.description ? `: ${about.description}` : "");
    if (about.items?.$ref) item.append(" A list of:", fieldItems(about.items, schemas));
    list.append(item);
  }
  return list;
}

function bodies(operation, schemas) {
  const content = operation.requestBody?.content?.["application/json"];
  if (!content) return [];
  const schema = content.schema?.$ref ? content.schema : content.schema?.anyOf?.[0];
  const examples = Object.values(content.examples ?? {});
  return [
    element("h2", "Fields"),
    fieldItems(schema, schemas),
    ...examples.flatMap((item) => example(`Body: ${item.summary}`, item.value)),
  ];
}

function replies(operation) {
  const contents = Object.entries(operation.responses?.["200"]?.content ?? {});
  return contents
    .filter(([, content]) => content.example !== undefined)
    .flatMap(([type, content]) => example(`Reply: ${type}`, content.example));
}

function section(method, path, operation, schemas) {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("code", `${method.toUpperCase()} ${path}`), ` — ${operation.summary ?? ""}`);
  details.append(summary, element("p", operation.description ?? ""));
  details.append(...bodies(operation, schemas), ...replies(operation));
  return details;
}

async function show() {
  const target = document.getElementById("operations");
  try {
    const api_description = await api.call("/openapi.json");
    const schemas = api_description.components?.schemas ?? {};
    const sections = Object.entries(api_description.paths).flatMap(([path, operations]) =>
      Object.entries(operations)
        .filter(([method]) => method !== "head")
        .map(([method, operation]) => section(method, path, operation, schemas)),
    );
    target.replaceChildren(...sections);
  } catch (problem) {
    target.replaceChildren(element("p", problem.message, "error"));
  }
}

document.getElementById("openapi").addEventListener("click", (event) => {
  const key = sessionStorage.getItem("reward-server-key");
  if (!key) return;
  event.preventDefault();
  window.location.assign(`/openapi.json?key=${encodeURIComponent(key)}`);
});

show();
