// Prints as JSON what the parser says of the AsyncAPI document, and which values the JSON Schema takes.
// Usage: node parse.js SCHEMA ASYNCAPI TEXTS, where TEXTS is a list of values as texts.

import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv/dist/2020.js";

const [schema, asyncapi, texts] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
const { document, diagnostics } = await new Parser().parse(asyncapi);
const operations = document?.operations().all() ?? [];
// The formats are not checked: they say no more than the patterns.
const isTaken = new Ajv.default({ strictTypes: false, validateFormats: false }).compile(JSON.parse(schema));

console.log(JSON.stringify({
  problems: diagnostics.filter((one) => one.severity < 2).map((one) => `${one.path.join(".")}: ${one.message}`),
  operations: operations.map((one) => [
    one.id(),
    one.action(),
    one.channels().all()[0].address(),
    one.bindings().get("nats").version(),
    one.messages().all().flatMap((message) => message.examples().all()).length,
  ]),
  taken: JSON.parse(texts).map((text) => isTaken(JSON.parse(text))),
}));
