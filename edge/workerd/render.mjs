// Fills nginx.conf.template for one machine and prints it.
//
//   node edge/workerd/render.mjs --listen 80 --socket /run/antiphon/edge.sock --pages /usr/share/antiphon/web \
//     --countries /etc/antiphon/countries.conf > /etc/nginx/conf.d/antiphon.conf
//
// The pages' headers come from the file _headers among them, so that they are written down once for nginx and Cloudflare.

import { readFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { listen: { type: "string" }, socket: { type: "string" }, pages: { type: "string" }, countries: { type: "string" } },
});
for (const name of ["listen", "socket", "pages", "countries"]) {
  if (!values[name]) fail(`--${name} is missing`);
}

const headers = pageHeaders(path.join(values.pages, "_headers"));
const places = {
  ...values,
  page_header_maps: headers.map(({ variable, rules }) => `map $uri ${variable} {\n${rules.map((rule) => `    ${rule}\n`).join("")}}`).join("\n"),
  page_headers: headers.map(({ name, variable }) => `add_header ${name} ${variable};`).join("\n        "),
};
const template = readFileSync(new URL("nginx.conf.template", import.meta.url), "utf8");
process.stdout.write(template.replaceAll(/\{\{(\w+)\}\}/g, (_, place) => places[place] ?? fail(`the template has an unknown place ${place}`)));

/** For each header a map from the path to its value; a header without a value for a path is not sent. */
function pageHeaders(file) {
  // What the platform says of a file unless _headers says otherwise.
  const byName = new Map([["Cache-Control", [`default "public, max-age=0, must-revalidate";`]]]);
  let pattern;
  for (const line of readFileSync(file, "utf8").split("\n").map((line) => line.trimEnd())) {
    if (line === "" || line.startsWith("#")) continue;
    if (!/^\s/.test(line)) {
      pattern = line;
      continue;
    }
    const [, name, value] = /^\s+([A-Za-z0-9-]+):\s*(.*)$/.exec(line) ?? fail(`${file}: ${line.trim()} is not a header`);
    const rules = byName.get(name) ?? [];
    byName.set(name, [...rules.filter((rule) => !rule.startsWith(`${place(pattern)} `)), `${place(pattern)} ${quoted(value)};`]);
  }
  return [...byName].map(([name, rules]) => ({ name, variable: `$antiphon_page_${name.toLowerCase().replaceAll("-", "_")}`, rules }));
}

function place(pattern) {
  if (pattern === "/*") return "default";
  const prefix = /^(\/[A-Za-z0-9_/-]*)\*$/.exec(pattern)?.[1] ?? fail(`_headers: only patterns like /folder/* are understood, not ${pattern}`);
  return `"~^${prefix}"`;
}

function quoted(value) {
  if (value.includes("$")) fail(`_headers: nginx cannot say a $ in ${value}`);
  return `"${value.replaceAll(/["\\]/g, "\\$&")}"`;
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(64);
}
