// A client of others' making: panva's oauth4webapi makes the DPoP proofs and
// reads the challenges, Node's OpenSSL shows the certificates.
// usage: node binding.mjs dpop MODULES ISSUER GATEWAY
//        node binding.mjs mtls MODULES ISSUER GATEWAY FOLDER
//        node binding.mjs mcp MODULES ISSUER GATEWAY
// It prints one JSON object: what was asked, and what came back.
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { pathToFileURL } from "node:url";

const [mode, modules, issuer, gateway, folder] = process.argv.slice(2);
const oauth = await import(pathToFileURL(`${modules}/oauth4webapi/build/index.js`));
const plain = { [oauth.allowInsecureRequests]: true }; // both are on loopback
const url = new URL(issuer);
const as = await oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, plain));
const out = {};

const message = JSON.stringify({
  jsonrpc: "2.0", id: 1, method: "tools/call",
  params: {
    _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": { name: "t", version: "1" }, "io.modelcontextprotocol/clientCapabilities": {} },
    name: "test_simple_text", arguments: {},
  },
});
const headers = () => ({
  "content-type": "application/json", accept: "application/json, text/event-stream",
  "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "test_simple_text",
});
const files = new URL(`${gateway}/mcp/files`);

async function grant(id, options) {
  const client = { client_id: id };
  const form = new URLSearchParams({ scope: "files:call", resource: files.href });
  const ask = () => oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretBasic(`${id}-secret`), form, { ...plain, ...options })
    .then((r) => oauth.processClientCredentialsResponse(as, client, r));
  return ask().catch((e) => { if (oauth.isDPoPNonceError(e)) return ask(); throw e; });
}

const said = (status, body, challenges) => ({ status, done: status === 200 && body.includes('"result"'), challenges });

if (mode === "dpop") {
  for (const alg of as.dpop_signing_alg_values_supported.filter((a) => ["ES256", "Ed25519", "PS256", "RS256", "ES384", "ES512"].includes(a))) {
    const DPoP = oauth.DPoP({ client_id: "prover" }, await oauth.generateKeyPair(alg));
    const { access_token: token, token_type } = await grant("prover", { DPoP });
    const steps = (out[alg] = { token_type });
    let sent; // the headers of the last request
    const call = (at = files) =>
      oauth.protectedResourceRequest(token, "POST", at, new Headers(headers()), message, {
        ...plain, DPoP,
        [oauth.customFetch]: (u, init) => { sent = new Headers(init.headers); return fetch(u, init); },
      }).then(async (r) => said(r.status, await r.text()), (e) => {
        if (!(e instanceof oauth.WWWAuthenticateChallengeError)) throw e;
        return { ...said(e.status, "", e.cause), nonce: oauth.isDPoPNonceError(e) };
      });
    const again = async (at, change) => {
      const h = new Headers(sent);
      for (const [k, v] of Object.entries(change ?? {})) h.set(k, v);
      const r = await fetch(at, { method: "POST", headers: h, body: message });
      return said(r.status, await r.text(), r.headers.get("www-authenticate"));
    };
    steps.first = await call();
    steps.second = await call();
    steps.third = await call();
    steps.replayed = await again(files);
    await call();
    steps.elsewhere = await again(`${gateway}/mcp/mail`);
    steps.bearer = await again(files, { authorization: `Bearer ${token}` });
    steps.other = await (async () => {
      // A thief with the token and a key of its own.
      const own = oauth.DPoP({ client_id: "thief" }, await oauth.generateKeyPair("ES256"));
      const steal = () => oauth.protectedResourceRequest(token, "POST", files, new Headers(headers()), message, { ...plain, DPoP: own })
        .then(async (r) => said(r.status, await r.text()), (e) => said(e.status, "", e.cause));
      await steal();
      return steal();
    })();
  }
} else if (mode === "mcp") {
  // The official client, which learns everything from the gateway's 401 on.
  const sdk = await import(pathToFileURL(`${modules}/@modelcontextprotocol/client/dist/index.mjs`));
  for (const [name, negotiation] of Object.entries({ modern: { mode: { pin: "2026-07-28" } }, legacy: { mode: "legacy" } })) {
    const session = await sdk.DpopSession.create();
    const seen = [];
    class Provider extends sdk.ClientCredentialsProvider {
      dpop() { return session; }
    }
    const authProvider = new Provider({ clientId: "prover", clientSecret: "prover-secret", expectedIssuer: issuer });
    const watched = async (u, init) => {
      const r = await fetch(u, init);
      if (String(u).startsWith(gateway) && r.status >= 400) {
        const [, error] = /error="([^"]*)"/.exec(r.headers.get("www-authenticate") ?? "") ?? [];
        seen.push(`${r.status} ${error ?? ""}`.trim());
      }
      return r;
    };
    const connected = async () => {
      const c = new sdk.Client({ name, version: "1.0.0" }, { capabilities: {}, versionNegotiation: negotiation });
      await c.connect(new sdk.StreamableHTTPClientTransport(files, { authProvider, fetch: watched }));
      return c;
    };
    let client = await connected();
    const { tools } = await client.listTools();
    const call = () => client.callTool({ name: "test_simple_text", arguments: {} });
    const result = await call().catch(async (e) => {
      // A session ends when its owner's rights grow, and is opened again.
      if (e.data?.status !== 404) throw e;
      client = await connected();
      return call();
    });
    out[name] = { tools: tools.length, text: result.content?.[0]?.text ?? "", type: authProvider.tokens().token_type, seen };
    await client.close();
  }
} else {
  const read = (name) => readFileSync(`${folder}/${name}`, "utf8");
  const { access_token: token } = await grant("carrier", {
    [oauth.customFetch]: (u, init) => {
      const h = new Headers(init.headers);
      h.set("x-test-certificate", encodeURIComponent(read("mine.pem")));
      return fetch(u, { ...init, headers: h });
    },
  });
  out.cnf = JSON.parse(Buffer.from(token.split(".")[1], "base64url")).cnf;
  const call = (name, more) => new Promise((resolve) => {
    const tls = { ca: read("ca.pem"), ...(name && { cert: read(`${name}.pem`), key: read(`${name}.key`) }), ...more };
    const r = request(files, { method: "POST", agent: false, headers: { ...headers(), authorization: `Bearer ${token}` }, ...tls }, (res) => {
      let body = "";
      res.on("data", (d) => (body += d)).on("end", () => resolve({ ...said(res.statusCode, body, res.headers["www-authenticate"]), tls: res.socket.getProtocol?.() }));
    });
    r.on("error", (e) => resolve({ refused: e.code ?? e.message }));
    r.end(message);
  });
  out.mine = await call("mine");
  out.other = await call("other");
  out.none = await call();
  out.expired = await call("expired");
  out.stranger = await call("stranger");
  out.old = await call("mine", { maxVersion: "TLSv1.2" });
}
console.log(JSON.stringify(out));
