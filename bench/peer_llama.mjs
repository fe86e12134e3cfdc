// Times llama.cpp (as node-llama-cpp builds it) on one GGUF file and prints one line of JSON:
// {"load_s": s, "first_token_s": s, "results": [{"work", "tokens", "depth", "batch", "tokens_per_s"}], "backend"}.
//
// usage: node peer_llama.mjs MODEL '{"threads": 1, "repeats": 2, "work": [{"work": "prefill", "tokens": 512,
//                                    "depth": 0, "batch": 1}, {"work": "decode", ...}]}'
// Run from a folder whose node_modules has node-llama-cpp (bench/compare.py makes one). first_token_s is from
// before the model is loaded, after node and the library are.
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const [model_path, plan_text] = process.argv.slice(2);
const plan = JSON.parse(plan_text);
const seconds = () => performance.now() / 1000;
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

const llama = await getLlama({
  gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, maxThreads: plan.threads,
});
const load_start = seconds();
const model = await llama.loadModel({modelPath: model_path, gpuLayers: 0, useMmap: true});
const load_s = seconds() - load_start;
const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
const some_tokens = (count, salt) =>
  Array.from({length: count}, (_, i) => 300 + ((i + salt) * 7919) % (vocabulary - 300));

const make_context = (tokens, sequences) => model.createContext({
  contextSize: tokens + 64, batchSize: 512, threads: plan.threads, sequences, flashAttention: plan.flash ?? false,
});

// `depth` tokens are read first, untimed.
async function prefill(work) {
  const context = await make_context(work.tokens + work.depth, 1);
  const sequence = context.getSequence();
  const rates = [];
  const start_of_text = some_tokens(work.depth, 1);
  if (work.depth > 0) await sequence.evaluateWithoutGeneratingNewTokens(start_of_text);
  for (let i = 0; i < plan.repeats; ++i) {
    await sequence.eraseContextTokenRanges([{start: work.depth, end: sequence.nextTokenIndex}]);
    const start = seconds();
    await sequence.evaluateWithoutGeneratingNewTokens(some_tokens(work.tokens, i));
    rates.push(work.tokens / (seconds() - start));
  }
  await context.dispose();
  return median(rates);
}

// Greedy steps of one sequence after a short prompt; the first step, which reads the prompt, is not counted.
// Yields after each of them.
async function* steps(sequence, prompt, count) {
  let at = -1;
  for await (const _ of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
    yield ++at;
    if (at === count) return;
  }
}

async function decode(work) {
  const context = await make_context((work.depth + work.tokens + 8) * work.batch, work.batch);
  const sequences = Array.from({length: work.batch}, () => context.getSequence());
  const rates = [];
  for (let i = 0; i < plan.repeats; ++i) {
    await Promise.all(sequences.map((s) => s.clearHistory()));
    // All have read their prompts when the clock starts.
    const running = sequences.map((s, j) => steps(s, some_tokens(work.depth + 1, j), work.tokens));
    await Promise.all(running.map((r) => r.next()));
    const start = seconds();
    await Promise.all(running.map(async (r) => { for await (const _ of r); }));
    rates.push(work.tokens * work.batch / (seconds() - start));
  }
  await context.dispose();
  return median(rates);
}

let first_token_s = null;
if (plan.first_token) {
  const context = await make_context(64, 1);
  for await (const _ of context.getSequence().evaluate(some_tokens(plan.first_token, 0), {temperature: 0})) break;
  first_token_s = seconds() - load_start;
  await context.dispose();
}
const results = [];
if (plan.work.length > 0) await prefill({tokens: 64, depth: 0});  // warm-up: page cache, repacking
for (const work of plan.work) {
  const rate = await (work.work === "prefill" ? prefill(work) : decode(work));
  results.push({...work, tokens_per_s: rate});
}
console.log(JSON.stringify({load_s, first_token_s, results, backend: llama.systemInfo.replace(/\s+/g, " ")}));
process.exit(0);
