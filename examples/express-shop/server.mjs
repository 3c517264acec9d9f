// A shop's backend: GET /users/profile behind one middleware, which asks the session's server who sends a request.
import { Configuration, FrontendApi, ResponseError } from "@ory/client-fetch";
import express from "express";
import { object, string, ValidationError } from "yup";

const provider = new FrontendApi(new Configuration({ basePath: process.env.SHOP_URL ?? "http://127.0.0.1:4433" }));
const DEADLINE = 3000; // milliseconds
const LONGEST = 500;

const tokenSchema = object({
  headers: object({
    session_token: string()
      .required("The request has no session token: send it in the header session_token.")
      .matches(/^[\w.~+/=-]{1,16384}$/, "The session token is malformed."),
  }),
});

/** A middleware that checks the request, and sets req.oryUser to {id, email, verified}. */
const validate = (schema) => async (req, res, next) => {
  try {
    const { headers } = await schema.validate({ headers: req.headers });
    const session = await provider.toSession(
      { xSessionToken: headers.session_token },
      { signal: AbortSignal.timeout(DEADLINE) },
    );
    req.oryUser = userOf(session);
  } catch (failed) {
    return refuse(res, failed);
  }
  return next();
};

/** The address itself says whether it is verified: the list may be empty, or begin with another one. */
function userOf({ identity }) {
  const email = identity.traits.email;
  const own = (identity.verifiable_addresses ?? []).find(({ value }) => value === email?.toLowerCase());
  return { id: identity.id, email: email ?? null, verified: own?.verified === true };
}

async function refuse(res, failed) {
  if (failed instanceof ValidationError) {
    return res.status(failed.value?.headers?.session_token ? 401 : 400).json({ message: failed.message });
  }
  if (failed instanceof ResponseError && [401, 403].includes(failed.response.status)) {
    const { error } = await failed.response.json().catch(() => ({}));
    const message = String(error?.message ?? "The session token is not valid.").slice(0, LONGEST);
    return res.status(failed.response.status).json({ message });
  }
  console.error("The provider cannot be asked:", failed.message);
  res.set("Retry-After", "5");
  return res.status(503).json({ message: "The session cannot be checked at the moment: try again in a few seconds." });
}

function getProfileHandler(req, res) {
  res.json(req.oryUser);
}

const app = express();
app.disable("x-powered-by");
app.get("/users/profile", validate(tokenSchema), getProfileHandler);

const port = Number(process.env.PORT ?? 4481);
app.listen(port, "127.0.0.1", (failed) => {
  if (failed) throw failed;
  console.log(`A shop's backend on http://127.0.0.1:${port}/users/profile`);
});
