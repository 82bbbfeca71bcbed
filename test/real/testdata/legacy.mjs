// A client of the legacy SDK: lists tools, calls one, answers what is asked.
// usage: node legacy.mjs http URL | stdio CMD ARGS...  with TOOL and ARGUMENTS
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [kind, target, ...args] = process.argv.slice(2);
const client = new Client(
  { name: "legacy-sdk", version: "1.0.0" },
  { capabilities: { sampling: {}, elicitation: {}, roots: {} } },
);
const asked = [];
client.setRequestHandler(CreateMessageRequestSchema, async () => {
  asked.push("sampling");
  return { role: "assistant", content: { type: "text", text: "sampled words" }, model: "test", stopReason: "endTurn" };
});
client.setRequestHandler(ElicitRequestSchema, async (request) => {
  asked.push("elicitation");
  const content = {};
  for (const [name, schema] of Object.entries(request.params.requestedSchema.properties)) {
    content[name] = schema.type === "boolean" ? true : "elicited " + name;
  }
  return { action: "accept", content };
});
client.setRequestHandler(ListRootsRequestSchema, async () => {
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
