// The published clients behind one function: call(name, parameters) => {status, data, cookies}. Names and parameters are
// those of today's clients; a refusal is an answer, too.

import * as clientFetchPackage from "@ory/client-fetch";
import * as kratosClientPackage from "@ory/kratos-client";
import { Configuration as OldConfiguration, V0alpha2Api } from "kratos-client-0.8";

const LENIENT = { validateStatus: () => true, maxRedirects: 0 };

function answered(response) {
  return { status: response.status, data: response.data, cookies: response.headers["set-cookie"] ?? [] };
}

// Return the API of a package that has an operation.
function having(name, apis) {
  const api = apis.find((one) => typeof one[name] === "function");
  if (api === undefined) throw new Error(`the client has no operation ${name}`);
  return api;
}

function clientFetch(basePath) {
  const { Configuration, FrontendApi, IdentityApi, CourierApi } = clientFetchPackage;
  // A browser adds the origin of the page to what its scripts post.
  const origin = (init) => (init.method === "POST" && init.headers.Cookie ? { Origin: new URL(basePath).origin } : {});
  const fetchApi = (url, init) =>
    fetch(url, { ...init, headers: { ...init.headers, ...origin(init) }, redirect: "manual" });
  const configuration = new Configuration({ basePath, headers: { Accept: "application/json" }, fetchApi });
  const apis = [FrontendApi, IdentityApi, CourierApi].map((one) => new one(configuration));
  return async (name, parameters = {}) => {
    try {
      const answer = await having(`${name}Raw`, apis)[`${name}Raw`](parameters);
      return { status: answer.raw.status, data: await answer.value(), cookies: answer.raw.headers.getSetCookie() };
    } catch (error) {
      if (error.response === undefined) throw error;
      const text = await error.response.text();
      return {
        status: error.response.status,
        data: text === "" ? undefined : JSON.parse(text),
        cookies: error.response.headers.getSetCookie(),
      };
    }
  };
}

function kratosClient(basePath) {
  const { Configuration, FrontendApi, IdentityApi, CourierApi } = kratosClientPackage;
  const configuration = new Configuration({ basePath, baseOptions: LENIENT });
  const apis = [FrontendApi, IdentityApi, CourierApi].map((one) => new one(configuration));
  return async (name, parameters) => answered(await having(name, apis)[name](parameters));
}

function kratosClient08(basePath) {
  const api = new V0alpha2Api(new OldConfiguration({ basePath, baseOptions: LENIENT }));
  return async (name, parameters = {}) => {
    const headers = parameters.cookie === undefined ? {} : { Cookie: parameters.cookie };
    return answered(await OLD_NAMES[name](api, parameters, { headers }));
  };
}

const OLD_NAMES = {
  createNativeLoginFlow: (api, p, o) => api.initializeSelfServiceLoginFlowWithoutBrowser(p.refresh, p.aal, p.xSessionToken, o),
  createBrowserLoginFlow: (api, p, o) => api.initializeSelfServiceLoginFlowForBrowsers(p.refresh, p.aal, p.returnTo, o),
  getLoginFlow: (api, p, o) => api.getSelfServiceLoginFlow(p.id, p.cookie, o),
  updateLoginFlow: (api, p, o) => api.submitSelfServiceLoginFlow(p.flow, p.xSessionToken, p.updateLoginFlowBody, o),
  createNativeRegistrationFlow: (api, p, o) => api.initializeSelfServiceRegistrationFlowWithoutBrowser(o),
  createBrowserRegistrationFlow: (api, p, o) => api.initializeSelfServiceRegistrationFlowForBrowsers(p.returnTo, o),
  getRegistrationFlow: (api, p, o) => api.getSelfServiceRegistrationFlow(p.id, p.cookie, o),
  updateRegistrationFlow: (api, p, o) => api.submitSelfServiceRegistrationFlow(p.flow, p.updateRegistrationFlowBody, o),
  createNativeSettingsFlow: (api, p, o) => api.initializeSelfServiceSettingsFlowWithoutBrowser(p.xSessionToken, o),
  createBrowserSettingsFlow: (api, p, o) => api.initializeSelfServiceSettingsFlowForBrowsers(p.returnTo, o),
  getSettingsFlow: (api, p, o) => api.getSelfServiceSettingsFlow(p.id, p.xSessionToken, p.cookie, o),
  updateSettingsFlow: (api, p, o) => api.submitSelfServiceSettingsFlow(p.flow, p.xSessionToken, p.updateSettingsFlowBody, o),
  createNativeRecoveryFlow: (api, p, o) => api.initializeSelfServiceRecoveryFlowWithoutBrowser(o),
  createBrowserRecoveryFlow: (api, p, o) => api.initializeSelfServiceRecoveryFlowForBrowsers(p.returnTo, o),
  getRecoveryFlow: (api, p, o) => api.getSelfServiceRecoveryFlow(p.id, p.cookie, o),
  updateRecoveryFlow: (api, p, o) => api.submitSelfServiceRecoveryFlow(p.flow, p.token, p.updateRecoveryFlowBody, o),
  createNativeVerificationFlow: (api, p, o) => api.initializeSelfServiceVerificationFlowWithoutBrowser(o),
  createBrowserVerificationFlow: (api, p, o) => api.initializeSelfServiceVerificationFlowForBrowsers(p.returnTo, o),
  getVerificationFlow: (api, p, o) => api.getSelfServiceVerificationFlow(p.id, p.cookie, o),
  updateVerificationFlow: (api, p, o) => api.submitSelfServiceVerificationFlow(p.flow, p.token, p.updateVerificationFlowBody, o),
  createBrowserLogoutFlow: (api, p, o) => api.createSelfServiceLogoutFlowUrlForBrowsers(p.cookie, o),
  updateLogoutFlow: (api, p, o) => api.submitSelfServiceLogoutFlow(p.token, p.returnTo, o),
  performNativeLogout: (api, p, o) => api.submitSelfServiceLogoutFlowWithoutBrowser(p.performNativeLogoutBody, o),
  toSession: (api, p, o) => api.toSession(p.xSessionToken, p.cookie, o),
  getFlowError: (api, p, o) => api.getSelfServiceError(p.id, o),
  listIdentitySchemas: (api, p, o) => api.listIdentitySchemas(p.perPage, p.page, o),
  getIdentitySchema: (api, p, o) => api.getJsonSchema(p.id, o),
  createIdentity: (api, p, o) => api.adminCreateIdentity(p.createIdentityBody, o),
  getIdentity: (api, p, o) => api.adminGetIdentity(p.id, p.includeCredential, o),
  listIdentities: (api, p, o) => api.adminListIdentities(p.perPage, p.page, o),
  updateIdentity: (api, p, o) => api.adminUpdateIdentity(p.id, p.updateIdentityBody, o),
  deleteIdentity: (api, p, o) => api.adminDeleteIdentity(p.id, o),
  deleteIdentitySessions: (api, p, o) => api.adminDeleteIdentitySessions(p.id, o),
  createRecoveryLinkForIdentity: (api, p, o) => api.adminCreateSelfServiceRecoveryLink(p.createRecoveryLinkForIdentityBody, o),
};

export const CLIENTS = {
  "client-fetch": clientFetch,
  "kratos-client": kratosClient,
  "kratos-client-0.8": kratosClient08,
};
