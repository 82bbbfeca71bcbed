// A client of the modern SDK, pinned to 2026-07-28: lists tools, calls one,
// answers what is asked.
// usage: node modern.mjs http URL | stdio CMD ARGS...  with TOOL and ARGUMENTS
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [kind, target, ...args] = process.argv.slice(2);
const client = new Client(
  { name: "modern-sdk", version: "1.0.0" },
  {
    capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} },
    versionNegotiation: { mode: { pin: "2026-07-28" } },
  },
);
const asked = [];
client.setRequestHandler("sampling/createMessage", async () => {
  asked.push("sampling");
  return { role: "assistant", content: { type: "text", text: "sampled words" }, model: "test", stopReason: "endTurn" };
});
client.setRequestHandler("elicitation/create", async (request) => {
  asked.push("elicitation");
  const content = {};
  for (const [name, schema] of Object.entries(request.params.requestedSchema.properties)) {
    content[name] = schema.type === "boolean" ? true : "elicited " + name;
  }
  return { action: "accept", content };
});
client.setRequestHandler("roots/list", async () => {
  asked.push("roots");
  return { roots: [{ uri: "file:///rooted", name: "rooted" }] };
});
const transport =
  kind === "http"
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ command: target, args, env: process.env, stderr: "inherit" });
await client.connect(transport);
const { tools } = await client.listTools();
const result = await client.callTool({ name: process.env.TOOL, arguments: JSON.parse(process.env.ARGUMENTS ?? "{}") });
console.log(JSON.stringify({ tools: tools.map((t) => t.name), result, asked, server: client.getServerVersion() }));
await client.close();
