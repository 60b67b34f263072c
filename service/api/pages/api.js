// What both pages share: the key, and one way to call the server. The key lives in this tab's session only.
"use strict";

const api = (() => {
  const address = new URL(window.location.href);
  if (address.searchParams.has("key")) {
    sessionStorage.setItem("reward-server-key", address.searchParams.get("key"));
    address.searchParams.delete("key");
    history.replaceState(null, "", address);
  }

  async function call(path, body) {
    const key = sessionStorage.getItem("reward-server-key");
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const options = { headers };
    if (body !== undefined) {
      options.method = "POST";
      options.body = JSON.stringify(body);
      headers["Content-Type"] = "application/json";
    }
    let reply;
    try {
      reply = await fetch(path, options);
    } catch {
      throw new Error("The server cannot be reached.");
    }
    let answer = null;
    try {
      answer = await reply.json();
    } catch {
      throw new Error(`The server answered ${reply.status} without a readable body.`);
    }
    if (!reply.ok) {
      const problem = new Error(answer?.error?.message ?? `The server answered ${reply.status}.`);
      problem.status = reply.status;
      throw problem;
    }
    return answer;
  }

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  return {
    call,
    element,
    hasKey: () => sessionStorage.getItem("reward-server-key") !== null,
    setKey: (key) => sessionStorage.setItem("reward-server-key", key),
  };
})();
