// Trains a byte-level BPE with Hugging Face's tokenizers (npm package "tokenizers"): GPT-2's words, its default of
// 30,000 entries. usage: node peer_tokenizers.mjs OUT.json TEXT; run where the package is installed.
import { createRequire } from "node:module";
const { BPE, Tokenizer, byteLevelPreTokenizer } = createRequire(process.cwd() + "/")("tokenizers");
const [out, text] = process.argv.slice(2);
const tokenizer = new Tokenizer(BPE.empty());
tokenizer.setPreTokenizer(byteLevelPreTokenizer(false));
const begin = performance.now();
tokenizer.train([text]);
console.log(JSON.stringify({ seconds: (performance.now() - begin) / 1000 }));
tokenizer.save(out);
