// Times llama.cpp (as node-llama-cpp builds it) on one GGUF file and prints one line of JSON:
// {"prefill": tokens/s, "decode": tokens/s, "load_s": s, "backend": "..."}.
//
// usage: node peer_llama.mjs MODEL THREADS PREFILL_TOKENS DECODE_TOKENS REPEATS
// Run from a folder whose node_modules has node-llama-cpp (bench/compare.py makes one).
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const [model_path, threads, prefill_count, decode_count, repeats] =
  [process.argv[2], ...process.argv.slice(3).map(Number)];
const seconds = () => performance.now() / 1000;
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

const llama = await getLlama({
  gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, maxThreads: threads,
});
const load_start = seconds();
const model = await llama.loadModel({modelPath: model_path, gpuLayers: 0, useMmap: true});
const load_s = seconds() - load_start;
const context = await model.createContext({
  contextSize: prefill_count + decode_count + 64, batchSize: 512, threads, sequences: 1,
});
const sequence = context.getSequence();
const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
const prompt = Array.from({length: prefill_count}, (_, i) => 300 + (i * 7919) % (vocabulary - 300));

async function time_prefill() {
  await sequence.clearHistory();
  const start = seconds();
  await sequence.evaluateWithoutGeneratingNewTokens(prompt);
  return prefill_count / (seconds() - start);
}

// Greedy steps after a short prompt; the first step, which evaluates the prompt, is not counted.
async function time_decode() {
  await sequence.clearHistory();
  let count = -1, start = 0;
  for await (const _ of sequence.evaluate([prompt[0]], {temperature: 0, yieldEogToken: true})) {
    if (++count === 0) start = seconds();
    if (count === decode_count) break;
  }
  return count / (seconds() - start);
}

await time_prefill();  // warm-up: page cache, repacking
const prefill = [], decode = [];
for (let i = 0; i < repeats; ++i) {
  if (prefill_count > 0) prefill.push(await time_prefill());
  if (decode_count > 0) decode.push(await time_decode());
}
console.log(JSON.stringify({
  prefill: median(prefill), decode: median(decode), load_s,
  backend: llama.systemInfo.replace(/\s+/g, " "),
}));
process.exit(0);
