// Asks the search of the built pages, as a browser would: node search.js FOLDER WORD…
// Prints one line of JSON: for each word the pages found, the best first.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const [folder, ...words] = process.argv.slice(2);
const page = vm.createContext({
  URLSearchParams,
  DOCUMENTATION_OPTIONS: {},
  addEventListener: () => {},
  document: { addEventListener: () => {}, getElementById: () => null, documentElement: { dataset: {} }, readyState: "loading" },
  localStorage: { setItem: () => {}, getItem: () => null },
  location: { search: "" },
});
page.window = page;
for (const file of [
  "_static/doctools.js",
  "_static/sphinx_highlight.js",
  "_static/searchtools.js",
  "_static/language_data.js",
  "searchindex.js",
]) {
  vm.runInContext(fs.readFileSync(path.join(folder, file), "utf8"), page);
}
page.find = vm.runInContext(
  "(word) => Search._performSearch(...Search._parseQuery(word)).map((found) => found[0]).reverse()",
  page,
);
console.log(JSON.stringify(Object.fromEntries(words.map((word) => [word, page.find(word)]))));
