// Passkeys: forms with data-passkey ask the server what to ask the browser for, and bring back its answer.
// Without JavaScript, or where the browser has none, they stay hidden.
"use strict";
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const octets = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // What the server writes as text, the browser wants as octets.
  const parsed = (o) => {
    o.challenge = octets(o.challenge);
    if (o.user) o.user.id = octets(o.user.id);
    for (const c of [...(o.excludeCredentials || []), ...(o.allowCredentials || [])]) c.id = octets(c.id);
    return o;
  };
  const written = (c) => {
    const r = c.response, out = { id: c.id, rawId: text(c.rawId), type: c.type, clientExtensionResults: c.getClientExtensionResults(), response: { clientDataJSON: text(r.clientDataJSON) } };
    if (c.authenticatorAttachment) out.authenticatorAttachment = c.authenticatorAttachment;
    for (const k of ["attestationObject", "authenticatorData", "signature", "userHandle"]) if (r[k]) out.response[k] = text(r[k]);
    if (r.getTransports) out.response.transports = r.getTransports();
    return out;
  };

  const post = async (path, body) => {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body || {}) });
    return answer.json();
  };

  const run = async (form) => {
    const path = form.dataset.passkey;
    const question = await post(path);
    if (question.to) return location.assign(question.to);
    if (question.error) throw new Error(question.error);
    const publicKey = parsed(question.options);
    let credential;
    try {
      credential = publicKey.user ? await navigator.credentials.create({ publicKey }) : await navigator.credentials.get({ publicKey });
    } catch (e) {
      if (e.name === "NotAllowedError" || e.name === "AbortError") throw new Error(form.dataset.failed);
      if (e.name === "InvalidStateError") throw new Error(form.dataset.have);
      throw e;
    }
    const result = await post(path + "/finish", { state: question.state, answer: written(credential), next: form.dataset.next });
    if (result.error) throw new Error(result.error);
    location.assign(result.to);
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    form.addEventListener("submit", async (ev) => {
      ev.preventDefault();
      const button = form.querySelector("button"), note = form.closest(".card").querySelector("[data-error]");
      if (button.getAttribute("aria-disabled")) return;
      button.setAttribute("aria-disabled", "true");
      if (note) note.hidden = true;
      try {
        await run(form);
      } catch (e) {
        if (note) {
          note.querySelector("p").textContent = e instanceof TypeError ? document.body.dataset.offline : e.message || form.dataset.failed;
          note.hidden = false;
        }
      } finally {
        button.removeAttribute("aria-disabled");
      }
    });
  }
})();
