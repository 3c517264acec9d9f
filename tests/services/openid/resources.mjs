// Access tokens for APIs: a resource is an address, whose tokens are JWT (RFC 9068) unless it ends with `/opaque`.
import { errors } from 'oidc-provider';

/** What the tokens of persons say besides: groups and roles, as other providers do. */
const TOLD = ['groups', 'roles', 'email', 'email_verified', 'name', 'given_name', 'family_name'];

const scopes = 'openid profile email offline_access view_products manage_my_orders';
const info = (resource) => ({
  scope: scopes,
  audience: resource,
  accessTokenTTL: 300,
  accessTokenFormat: resource.endsWith('/opaque') ? 'opaque' : 'jwt',
  jwt: { sign: { alg: 'RS256' } },
});

/** The part of the provider's configuration that is about APIs. */
export const features = {
  clientCredentials: { enabled: true },
  introspection: { enabled: true, allowedPolicy: () => true },
  revocation: { enabled: true },
  resourceIndicators: {
    enabled: true,
    defaultResource: (ctx, client, one) => one,
    useGrantedResource: () => true,
    getResourceServerInfo: (ctx, resource) => {
      if (!resource.startsWith('http')) throw new errors.InvalidTarget();
      return info(resource);
    },
  },
};

export const claimsOf = (world) => (ctx, token) => {
  const claims = token.accountId && world.persons.withSubject(token.accountId);
  if (!claims) return undefined;
  return Object.fromEntries(TOLD.filter((name) => claims[name] !== undefined).map((name) => [name, claims[name]]));
};

/** Issue an access token of a person for an API, as a sign-in there would have done. */
export async function accessToken(world, { email, client_id: clientId, resource, scope = 'openid' }) {
  const { AccessToken, Client, Grant, ResourceServer } = world.provider;
  const accountId = world.persons.find(email).sub;
  const grant = new Grant({ clientId, accountId });
  grant.addOIDCScope(scope);
  if (resource) grant.addResourceScope(resource, scope);
  const token = new AccessToken({ accountId, clientId, client: await Client.find(clientId), grantId: await grant.save(), gty: 'authorization_code', scope });
  if (resource) token.resourceServer = new ResourceServer(resource, info(resource));
  return token.save();
}

/** Issue a token of each kind that the library has, opaque, to a person or a client, by the name of the kind. */
export async function oneOfEachKind(world, { email, client_id: clientId }) {
  const { provider } = world;
  const accountId = world.persons.find(email).sub;
  const grant = new provider.Grant({ clientId, accountId });
  grant.addOIDCScope('openid');
  const about = { accountId, clientId, client: await provider.Client.find(clientId), grantId: await grant.save(), gty: 'authorization_code', scope: 'openid' };
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(provider)).filter((name) => provider[name]?.prototype instanceof provider.BaseToken);
  const issued = names.map(async (name) => [name, await new provider[name](about).save()]);
  return Object.fromEntries(await Promise.all(issued));
}

/** The password grant of RFC 6749 section 4.3, with `audience` for the API as Auth0 has it. The library has none. */
export function register(world) {
  const { provider } = world;
  provider.registerGrantType('password', async (ctx) => {
    const { username, password, scope = 'openid', audience } = ctx.oidc.params;
    const claims = world.persons.find(username, password);
    if (!claims) throw new errors.InvalidGrant('Wrong email or password.');
    if (claims.mfa) throw new errors.CustomOIDCProviderError('mfa_required', 'Multifactor authentication required');
    const clientId = ctx.oidc.client.clientId;
    const token = await accessToken(world, { email: username, client_id: clientId, resource: audience, scope });
    const said = { access_token: token, token_type: 'Bearer', expires_in: 300, scope };
    if (scope.split(' ').includes('openid')) {
      const now = world.now();
      const told = { iss: world.issuer, aud: clientId, iat: now, exp: now + 300, ...claims };
      said.id_token = await world.keys.sign(told);
    }
    ctx.body = said;
  }, ['username', 'password', 'scope', 'audience', 'realm']);
}
