// What a native app, a browser and an operator do with a published client, flow by flow:
//
//     node journeys.mjs CLIENT PUBLIC ADMIN code|link
//
// It ends with 0 when every flow went as Kratos' contract says, and names the first one that did not.

import { browserApp } from "./browser.mjs";
import { codeSignIn } from "./codes.mjs";
import { devices } from "./devices.mjs";
import { errors } from "./errors.mjs";
import { nativeApp } from "./native.mjs";
import { operator } from "./operator.mjs";
import { by, client } from "./visiting.mjs";

const isOldest = client === "kratos-client-0.8"; // it knows no codes, and lists no sessions

await nativeApp();
await browserApp();
await errors();
await operator();
if (by === "code") await codeSignIn();
if (!isOldest) await devices();
