// What llama.cpp (as node-llama-cpp builds it) computes from one GGUF file: for each token the
// probabilities of the next, as float64 [tokens, vocabulary], or one embedding.
//
// usage: node peer.mjs MODEL.gguf TOKENS_CSV VOCABULARY KEYS_AND_VALUES(F32|F16) OUT [embed]
// Run from a folder whose node_modules has node-llama-cpp (bench/peer.py makes one).
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import fs from "node:fs";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const [, , model_path, tokens_csv, vocabulary, cache, out, what] = process.argv;
const tokens = tokens_csv.split(",").map(Number);
const llama = await getLlama({
  gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, maxThreads: 1,
});
const model = await llama.loadModel({modelPath: model_path, gpuLayers: 0, useMmap: true});

async function embed() {
  const context = await model.createEmbeddingContext({contextSize: tokens.length + 8, threads: 1});
  return Float64Array.from((await context.getEmbeddingFor(tokens)).vector);
}

async function probabilities() {
  const context = await model.createContext({
    contextSize: 256, batchSize: 256, threads: 1, flashAttention: false, sequences: 1,
    experimentalKvCacheKeyType: cache, experimentalKvCacheValueType: cache,
  });
  // Temperature 1 and no cut: the softmax of the logits.
  const options = {temperature: 1, topK: 0, topP: 1, minP: 0};
  const results = await context.getSequence().controlledEvaluate(
    tokens.map((token) => [token, {generateNext: {probabilities: true, options}}]));
  const rows = new Float64Array(tokens.length * Number(vocabulary));
  results.forEach((result, i) => {
    for (const [token, p] of result.next.probabilities) rows[i * vocabulary + token] = p;
  });
  return rows;
}

const rows = what === "embed" ? await embed() : await probabilities();
fs.writeFileSync(out, Buffer.from(rows.buffer));
process.exit(0);
