// Asks the browser's authenticator and posts its answer by the page's own form.
// Everything else of these pages works without a script.
"use strict";
(() => {
  const form = document.querySelector("form[data-passkey]");
  if (!form || !window.PublicKeyCredential) return;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (b) => String.fromCharCode(b)).join(""))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const known = (list) => (list || []).map((k) => ({ ...k, id: bytes(k.id) }));

  const ask = async () => {
    const o = JSON.parse(form.dataset.options);
    o.challenge = bytes(o.challenge);
    if (form.dataset.passkey === "create") {
      o.user.id = bytes(o.user.id);
      o.excludeCredentials = known(o.excludeCredentials);
      return navigator.credentials.create({ publicKey: o });
    }
    o.allowCredentials = known(o.allowCredentials);
    return navigator.credentials.get({ publicKey: o });
  };

  const written = (key) => {
    const r = key.response;
    const response = { clientDataJSON: text(r.clientDataJSON) };
    if (r.attestationObject) {
      response.attestationObject = text(r.attestationObject);
      response.transports = r.getTransports ? r.getTransports() : [];
    } else {
      response.authenticatorData = text(r.authenticatorData);
      response.signature = text(r.signature);
      if (r.userHandle) response.userHandle = text(r.userHandle);
    }
    return JSON.stringify({ id: key.id, rawId: text(key.rawId), type: key.type, response, clientExtensionResults: {} });
  };

  const failed = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    failed.hidden = true;
    try {
      form.elements.namedItem("answer").value = written(await ask());
    } catch {
      failed.hidden = false;
      return;
    }
    form.submit();
  });
  form.hidden = false;
})();
