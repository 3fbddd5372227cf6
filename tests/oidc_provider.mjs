// oidc-provider (npm), as a lab's identity provider: run with the folder that it is installed in.
// Says {name: issuer} on a line; ends when its standard input does. Each issuer offers other ways
// to authenticate a client; what is not named here is the package's default.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.argv[2]}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";
const client = (client_id, token_endpoint_auth_method, more = {}) => ({
  client_id,
  token_endpoint_auth_method,
  application_type: "native",
  redirect_uris: ["http://127.0.0.1/callback"],
  grant_types: ["authorization_code", "refresh_token", DEVICE],
  ...more,
});
const secret = { client_secret: "kanari +%:/=secret" };
const key = (...of) => generateKeyPairSync(...of).privateKey.export({ format: "jwk" });
const keys = [
  { ...key("rsa", { modulusLength: 2048 }), kid: "rsa", use: "sig" },
  { ...key("ed25519"), kid: "okp", use: "sig" },
];
const findAccount = async (ctx, id) => ({
  accountId: id,
  claims: () => ({ sub: id, email: `${id}@lab.example`, email_verified: true }),
});

const issuer = (auth, clients, features = {}) => ({
  clients,
  findAccount,
  jwks: { keys },
  claims: { email: ["email", "email_verified"] },
  cookies: { keys: ["kanari"] },
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "Ed25519"] },
  ...(auth ? { clientAuthMethods: auth } : {}),
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    claimsParameter: { enabled: true },
    ...features,
  },
});
const issuers = {
  public: issuer(null, [
    client("rsa", "none"),
    client("ed25519", "none", { id_token_signed_response_alg: "Ed25519" }),
  ]),
  basic: issuer(["client_secret_basic", "none"], [client("a lab", "client_secret_basic", secret)]),
  post: issuer(["client_secret_post", "none"], [client("a lab", "client_secret_post", secret)]),
  keys: issuer(["private_key_jwt"], []),
  plain: issuer(null, [client("rsa", "none")], { claimsParameter: { enabled: false } }),
};

const found = {};
for (const [name, configuration] of Object.entries(issuers)) {
  const server = createServer();
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  found[name] = `http://127.0.0.1:${server.address().port}`;
  server.on("request", new Provider(found[name], configuration).callback());
}
console.log(`issuers ${JSON.stringify(found)}`);
process.stdin.on("end", () => process.exit()).resume();
