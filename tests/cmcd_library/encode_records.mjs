// Encodes CMCD records with the library that players use, and decodes them again with it: a JSON list
// of records on stdin, a JSON list of [text, decoded record] on stdout. A number with an object type
// is [number, type]. The argument is the folder where tests/install-services has installed the library.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const library = `${process.argv[2]}/node_modules/@svta/cml-cmcd/dist/index.js`;
const { decodeCmcd, encodeCmcd, toCmcdValue } = await import(pathToFileURL(library));

function typed(value) {
  const isTyped = (one) => Array.isArray(one) && one.length === 2;
  if (!Array.isArray(value)) return value;
  return value.map((one) => (isTyped(one) ? toCmcdValue(one[0], { [one[1]]: true }) : one));
}

const records = JSON.parse(readFileSync(0, "utf-8"));
const answers = records.map((record) => {
  const data = Object.fromEntries(Object.entries(record).map(([key, value]) => [key, typed(value)]));
  const text = encodeCmcd(data, { version: 2, reportingMode: "event" });
  return [text, decodeCmcd(text)];
});
console.log(JSON.stringify(answers));
