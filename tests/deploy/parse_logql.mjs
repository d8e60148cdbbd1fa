// Parses LogQL with Grafana's own grammar: a JSON list of queries on stdin, a list of trees on stdout.
// The argument is the folder where tests/install-services has installed the grammar.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { parser } = createRequire(`${process.argv[2]}/`)("@grafana/lezer-logql");

function nested(node, query) {
  const children = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) {
    children.push(nested(child, query));
  }
  return [node.type.isError ? "error" : node.name, query.slice(node.from, node.to), children];
}

const queries = JSON.parse(readFileSync(0, "utf-8"));
console.log(JSON.stringify(queries.map((query) => nested(parser.parse(query).topNode, query))));
