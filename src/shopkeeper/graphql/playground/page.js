"use strict";
const find = (id) => document.getElementById(id);
const here = location.pathname.replace(/\/$/, "");
const signin = here.slice(0, here.lastIndexOf("/")) + "/signin";
let token = "";

async function post(path, body) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = "Bearer " + token;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), credentials: "omit" });
  return answer.json();
}

async function become(fields) {
  const answer = await post(signin, fields);
  if (!answer.authorization) return show(answer);
  token = answer.authorization;
  find("who").textContent = answer.customer ? answer.customer.email : "A visitor";
}

function show(answer) {
  find("answer").textContent = JSON.stringify(answer, null, 2);
}

async function visit() {
  token = "";
  await become({});
}

async function run() {
  try {
    if (!token) await visit();
    show(await post(here, { query: find("query").value, variables: JSON.parse(find("variables").value || "{}") }));
  } catch (problem) {
    show({ problem: String(problem) });
  }
}

find("run").addEventListener("click", run);
find("visitor").addEventListener("click", visit);
find("signin").addEventListener("submit", (event) => {
  event.preventDefault();
  become(Object.fromEntries(new FormData(event.target)));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
});
