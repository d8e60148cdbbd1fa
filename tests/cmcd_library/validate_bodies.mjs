// Validates bodies of CMCD events: a JSON list of bodies on stdin, a JSON list of issues on stdout.
// The argument is the folder where tests/install-services has installed the library.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const library = `${process.argv[2]}/node_modules/@svta/cml-cmcd/dist/index.js`;
const { validateCmcdEvents } = await import(pathToFileURL(library));

const bodies = JSON.parse(readFileSync(0, "utf-8"));
console.log(JSON.stringify(bodies.flatMap((body) => validateCmcdEvents(body).issues)));
