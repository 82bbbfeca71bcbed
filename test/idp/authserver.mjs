// The official TypeScript SDK's client, which knows a server's URL and who it is
// itself (a client_id, the URL of its document, or nothing, so that it registers)
// and finds out the rest. It says "open URL" for each link that a
// person must open and reads from its standard input where that ended; at last
// it says "end" and what it got.
// usage: node authserver.mjs MODULES SERVER CALLBACK WHO
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [modules, server, callback, who] = process.argv.slice(2);
const sdk = (file) => import(pathToFileURL(`${modules}/@modelcontextprotocol/sdk/dist/esm/client/${file}`));
const { Client } = await sdk("index.js");
const { StreamableHTTPClientTransport } = await sdk("streamableHttp.js");

const document = who.startsWith("https:") ? who : undefined;
const kept = { client: who && !document ? { client_id: who } : undefined };
const provider = {
  redirectUrl: callback,
  clientMetadata: { client_name: "Editor", redirect_uris: [callback], grant_types: ["authorization_code", "refresh_token"], token_endpoint_auth_method: "none" },
  clientMetadataUrl: document,
  clientInformation: () => kept.client,
  saveClientInformation: (c) => { kept.client = c; },
  tokens: () => kept.tokens,
  // With a refresh token this client would refresh instead of asking for the
  // wider scope that a call needs, and give up.
  saveTokens: ({ refresh_token, ...t }) => { kept.tokens = t; },
  state: () => crypto.randomUUID(),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (v) => { kept.verifier = v; },
  redirectToAuthorization: (u) => { kept.link = u; },
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let client;
let transport = new StreamableHTTPClientTransport(new URL(server), { authProvider: provider });

async function connect() {
  transport = new StreamableHTTPClientTransport(new URL(server), { authProvider: provider });
  const next = new Client({ name: "editor", version: "1" });
  await next.connect(transport);
  client = next;
}

// attempt does something, and has a person let the client in when it is told to.
async function attempt(what) {
  for (let i = 0; i < 4; i++) {
    try {
      return await what();
    } catch (e) {
      if (e.code === 404 && client) {
        await connect(); // with wider rights comes another session
        continue;
      }
      const link = kept.link;
      kept.link = undefined;
      if (!link) throw e;
      console.log(`open ${link}`);
      const at = new URL((await lines.next()).value);
      if (!at.searchParams.has("code")) throw new Error(`the answer is ${at}`);
      await transport.finishAuth(at.searchParams.get("code"), at.searchParams.get("iss") ?? undefined);
    }
  }
  throw new Error("asked again and again");
}

const out = { done: false, tools: 0 };
await attempt(connect);
out.tools = (await attempt(() => client.listTools())).tools.length;
const result = await attempt(() => client.callTool({ name: "test_simple_text", arguments: {} }));
out.done = result.isError !== true && result.content?.length > 0;
out.token = kept.tokens.access_token;
await client.close();
console.log(`end ${JSON.stringify(out)}`);
process.exit(0);
