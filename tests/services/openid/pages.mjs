// The pages of the provider: signing in or declining, who is signed in, signing out.
const escape = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const whole = (title, body) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem}input,button{font:inherit;
padding:.5rem;margin:.25rem 0;width:100%;box-sizing:border-box}</style><h1>${escape(title)}</h1>${body}`;

export const read = (request) =>
  new Promise((done) => {
    let body = '';
    request.on('data', (part) => (body += part));
    request.on('end', () => done(body));
  });

const show = (response, status, title, body) => {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  response.end(whole(title, body));
};

const form = (world, uid, params, problem = '') => `${problem && `<p role="alert">${escape(problem)}</p>`}
<form method="post" action="/interaction/${uid}">
<label>E-mail <input name="username" type="email" value="${escape(params.login_hint || '')}" autofocus></label>
<label>Password <input name="password" type="password"></label>
<button name="answer" value="yes">Sign in and share my name and address</button>
<button name="answer" value="no" formnovalidate>Decline</button></form>
${world.page ? `<p>${escape(world.page)}</p>` : ''}`;

/** Answer the page on which a person signs in: with the form, or where it is sent, with the way back. */
export async function interaction(world, request, response) {
  const { provider, persons } = world;
  const { uid, params } = await provider.interactionDetails(request, response);
  const finish = (result) => provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  const signIn = (claims) => finish({ login: { accountId: claims.sub, acr: claims.acr, amr: claims.amr } });
  if (request.method === 'GET') {
    const hinted = world.automatic && persons.find(params.login_hint);
    return hinted ? signIn(hinted) : show(response, 200, 'Sign in', form(world, uid, params));
  }
  const sent = new URLSearchParams(await read(request));
  if (sent.get('answer') === 'no') return finish({ error: 'access_denied', error_description: 'The person declined.' });
  const claims = persons.find(sent.get('username'), sent.get('password'));
  if (claims) return signIn(claims);
  return show(response, 401, 'Sign in', form(world, uid, params, 'There is no such person, or the password is another.'));
}

/** Answer the provider's own page: who its persons are, and the way out. */
export async function page(world, request, response) {
  return show(response, 200, 'Test provider', `<p>${escape(world.page)}</p><p><a href="/session/end">Sign out here</a></p>`);
}

/** The library's page that asks whether to sign out. */
export async function questioned(ctx, fields) {
  ctx.body = whole('Sign out', `${fields}<button form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button>`);
}

/** The library's page after signing out. */
export async function confirmed(ctx) {
  ctx.body = whole('Signed out', '<p>You have signed out at the provider.</p>');
}
