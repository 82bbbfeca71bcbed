// A legacy client that cancels a call and goes on: ARGV url.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const client = new Client({ name: "cancel", version: "1.0.0" });
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
await client.connect(transport);
for (const [name, args] of [["odd_silent", {}], ["odd_slow", { ms: 600000 }]]) {
  const stop = new AbortController();
  const options = { signal: stop.signal };
  if (name === "odd_slow") options.onprogress = () => stop.abort("no need");
  else setTimeout(() => stop.abort("no need"), 300);
  let ended = "answered";
  try {
    await client.callTool({ name, arguments: args }, undefined, options);
  } catch (e) {
    ended = "cancelled";
  }
  const next = await client.callTool({ name: "test_simple_text", arguments: {} });
  console.log(name, ended, next.content[0].text);
}
await client.close();
