// oidc-provider for tests: a certified authorization server on loopback, in
// memory, set up for MCP. It ends with the process.
// usage: node oidc-provider.mjs MODULES PORT RESOURCE_BASE SIGNER_JWKS [CERT KEY]
// With a certificate and its key it speaks HTTPS and asks clients for theirs.
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { pathToFileURL } from "node:url";

const [modules, port, base, signer, cert, key] = process.argv.slice(2);
const { default: Provider, interactionPolicy } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));

const { SignJWT, importJWK, jwtVerify } = await import(pathToFileURL(`${modules}/jose/dist/webapi/index.js`));

const people = {
  kim: { password: "kim-password", groups: ["readers"] },
  lee: { password: "lee-password", groups: [] },
};
const scopes = (server) => [`${server}:list`, `${server}:read`, `${server}:call`];
const resources = { [`${base}/mcp/files`]: "files", [`${base}/mcp/mail`]: "mail" };

function signingKey(kid) {
  const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  return { ...jwk, kid, use: "sig", alg: "ES256" };
}

const robot = (client_id, more) => ({
  client_id,
  grant_types: ["client_credentials"],
  response_types: [],
  redirect_uris: [],
  ...more,
});

// It asks native clients each time, but for the gateway's own client: of that one
// it remembers the consent, as most providers do.
const policy = interactionPolicy.base();
const always = policy.get("consent").checks.get("native_client_prompt");
const asks = always.check;
always.check = (ctx) => (ctx.oidc.client.clientId === "pages" ? interactionPolicy.Check.NO_NEED_TO_PROMPT : asks(ctx));

const exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
const own = signingKey("op-1");
const provider = new Provider(`${cert ? "https" : "http"}://127.0.0.1:${port}`, {
  jwks: { keys: [own] },
  clients: [
    {
      client_id: "editor",
      application_type: "native",
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code"],
      redirect_uris: ["http://127.0.0.1:9999/callback"],
      id_token_signed_response_alg: "ES256",
      backchannel_logout_uri: `${base}/backchannel-logout`,
      backchannel_logout_session_required: true,
    },
    {
      client_id: "pages",
      client_secret: "pages-secret",
      application_type: "native",
      token_endpoint_auth_method: "client_secret_basic",
      grant_types: ["authorization_code"],
      redirect_uris: [`${base}/signin/callback`],
      id_token_signed_response_alg: "ES256",
      backchannel_logout_uri: `${base}/backchannel-logout`,
      backchannel_logout_session_required: true,
    },
    {
      client_id: "desk",
      client_secret: "gateway-secret",
      application_type: "native",
      token_endpoint_auth_method: "client_secret_post",
      grant_types: ["authorization_code", exchange],
      redirect_uris: ["http://127.0.0.1:9999/callback"],
      id_token_signed_response_alg: "ES256",
    },
    robot("robot", { client_secret: "robot-secret" }),
    robot("short", { client_secret: "short-secret" }),
    robot("opaque", { client_secret: "opaque-secret" }),
    robot("prover", { client_secret: "prover-secret", dpop_bound_access_tokens: true }),
    robot("carrier", { client_secret: "carrier-secret", tls_client_certificate_bound_access_tokens: true }),
    robot("signer", { token_endpoint_auth_method: "private_key_jwt", token_endpoint_auth_signing_alg: "ES256", jwks: JSON.parse(signer) }),
    robot("gateway", { client_secret: "gateway-secret", grant_types: [] }),
  ],
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  scopes: ["openid"],
  claims: { openid: ["sub", "sid"] },
  pkce: { required: () => true },
  ttl: { ClientCredentials: (ctx, token, client) => (client.clientId === "short" ? 2 : 300), Session: 3600, Grant: 3600, Interaction: 600, IdToken: 300, AccessToken: 300 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === "gateway" },
    revocation: { enabled: true },
    registration: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    dPoP: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      // Without a certificate of its own, a header stands in place of a proxy that ends TLS before the provider.
      getCertificate: (ctx) => (cert ? ctx.socket.getPeerX509Certificate() : decodeURIComponent(ctx.get("x-test-certificate")) || undefined),
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource, client) {
        const server = resources[resource];
        if (!server) throw new Error(`no resource ${resource}`);
        return {
          scope: scopes(server).join(" "),
          audience: resource,
          accessTokenTTL: client.clientId === "short" ? 2 : 300,
          accessTokenFormat: client.clientId === "opaque" ? "opaque" : "jwt",
          jwt: { sign: { alg: "ES256" } },
        };
      },
    },
  },
  extraTokenClaims: (ctx, token) => (token.accountId && people[token.accountId] ? { groups: people[token.accountId].groups } : undefined),
  findAccount: (ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id }) },
  interactions: { policy, url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  // It reaches no private address by itself, and the gateway of a test is one.
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
  cookies: { keys: ["only for tests"] },
});

// For an ID token of its own it asserts who the person is (ID-JAG), by RFC 8693.
provider.registerGrantType(exchange, async (ctx) => {
  const { params, client } = ctx.oidc;
  const { payload } = await jwtVerify(params.subject_token, createPublicKey({ key: own, format: "jwk" }), { issuer: provider.issuer, audience: client.clientId });
  const assertion = new SignJWT({ client_id: client.clientId, resource: params.resource, scope: params.scope })
    .setProtectedHeader({ alg: "ES256", kid: own.kid, typ: "oauth-id-jag+jwt" })
    .setIssuer(provider.issuer).setSubject(payload.sub).setAudience(params.audience).setJti(crypto.randomUUID()).setIssuedAt().setExpirationTime("5m");
  ctx.body = { access_token: await assertion.sign(await importJWK(own, "ES256")), issued_token_type: "urn:ietf:params:oauth:token-type:id-jag", token_type: "N_A", expires_in: 300 };
}, ["audience", "resource", "scope", "requested_token_type", "subject_token", "subject_token_type"]);

// One page signs in and consents: a person who knows the password grants all
// that the client asks for.
provider.use(async (ctx, next) => {
  const [, uid] = /^\/interaction\/([\w-]+)$/.exec(ctx.path) ?? [];
  if (!uid) return next();
  const interaction = await provider.interactionDetails(ctx.req, ctx.res);
  if (ctx.method === "GET") {
    ctx.type = "html";
    ctx.body = `<form method="post" action="/interaction/${uid}"><input name="username"><input name="password" type="password"><button>Sign in</button></form>`;
    return;
  }
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  const form = new URLSearchParams(Buffer.concat(chunks).toString());
  const name = form.get("username");
  if (people[name]?.password !== form.get("password")) {
    ctx.status = 401;
    return;
  }
  const { params, session } = interaction;
  const grant = interaction.grantId ? await provider.Grant.find(interaction.grantId) : new provider.Grant({ accountId: session?.accountId ?? name, clientId: params.client_id });
  grant.addOIDCScope("openid");
  for (const [resource, server] of Object.entries(resources)) {
    if ([].concat(params.resource ?? []).includes(resource)) {
      grant.addResourceScope(resource, (params.scope ?? "").split(" ").filter((s) => scopes(server).includes(s)).join(" "));
    }
  }
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: name }, consent }, { mergeWithLastSubmission: true });
});

for (const event of ["server_error", "backchannel.error"]) provider.on(event, (ctx, err) => console.error(event, err.cause ?? err));
if (cert) {
  const options = { cert: readFileSync(cert), key: readFileSync(key), requestCert: true, rejectUnauthorized: false };
  createServer(options, provider.callback()).listen(port, "127.0.0.1");
} else {
  provider.listen(port, "127.0.0.1");
}
