// Read a model in GGUF with llama.cpp: node gguf_reader.mjs MODEL-FOLDER REQUEST ANSWER
//
// node-llama-cpp is loaded from the folder that FT30_READER_MODULES names. ANSWER is a folder, in which answer.json and
// one file for each array are written.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, requestFile, answerFolder] = process.argv.slice(2);
const modules = path.join(process.env.FT30_READER_MODULES, "node_modules");
const load = (file) => import(pathToFileURL(path.join(modules, file)).href);
const { getLlama, LlamaLogLevel, getModuleVersion } = await load("node-llama-cpp/dist/index.js");
const { Template } = await load("@huggingface/jinja/dist/index.js");
const request = JSON.parse(fs.readFileSync(requestFile, "utf-8"));

// One thread: those of llama.cpp wait by spinning, which takes a busy machine minutes.
const llama = await getLlama({ gpu: false, maxThreads: 1, build: "never", progressLogs: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path.join(folder, "model.gguf"), gpuLayers: 0 });
const longest = Math.max(...request.rows.map((row) => row.length), ...request.prompts.map((row) => row.length));
const context = await model.createContext({
    contextSize: longest + request.new_tokens + 1,
    batchSize: longest + request.new_tokens + 1,
    flashAttention: false,
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
});
const sequence = context.getSequence();
const metadata = model.fileInfo.metadata;

function write(name, values, shape) {
    fs.writeFileSync(path.join(answerFolder, name + ".f32"), Buffer.from(Float32Array.from(values).buffer));
    return { file: name + ".f32", shape };
}

// The logits that follow each of some places of a row, as maps from token to logit.
async function ask(row, wanted) {
    await sequence.clearHistory();
    const items = row.map((token, place) => (wanted.has(place) ? [token, { generateNext: wanted.get(place) }] : token));
    return await sequence.controlledEvaluate(items);
}

const best = (logits) => [...logits].reduce((one, other) => (other[1] > one[1] ? other : one))[0];
const losses = [];
const hits = [];
for (const [number, row] of request.rows.entries()) {
    const wanted = new Map(
        request.asked[number].map((place) => [
            place,
            { logits: { filter: { tokens: [row[place + 1]], includeTop: 1 } }, totalLogitWeight: true },
        ])
    );
    const found = await ask(row, wanted);
    for (const place of request.asked[number]) {
        const { logits, totalLogitWeight } = found[place].next;
        const target = row[place + 1];
        losses.push(logits.get(best(logits)) - logits.get(target) + Math.log(totalLogitWeight));
        hits.push(best(logits) === target ? 1 : 0);
    }
}

const shown = [];
let vocabulary = 0;
for (const number of [...new Set(request.shown.map(([row]) => row))]) {
    const places = request.shown.filter(([row]) => row === number).map(([, place]) => place);
    const found = await ask(request.rows[number], new Map(places.map((place) => [place, { logits: true }])));
    for (const place of places) {
        const { logits } = found[place].next;
        vocabulary = logits.size;
        const values = new Float32Array(vocabulary);
        for (const [token, logit] of logits) values[token] = logit;
        shown.push(values);
    }
}

const greedy = [];
for (const prompt of request.prompts) {
    await sequence.clearHistory();
    const answer = [];
    let tokens = prompt;
    while (answer.length < request.new_tokens) {
        const last = tokens.length - 1;
        const filter = { tokens: [0], includeTop: 1 };
        const items = tokens.map((one, place) => (place === last ? [one, { generateNext: { logits: { filter } } }] : one));
        const found = await sequence.controlledEvaluate(items);
        answer.push(best(found[last].next.logits));
        tokens = answer.slice(-1);
    }
    greedy.push(answer);
}

const template = metadata.tokenizer.chat_template ?? null;
const spell = (token) => (token == null ? "" : model.detokenize([token], true));
const words = { bos_token: spell(model.tokens.bos), eos_token: spell(model.tokens.eos) };
// Without the spaces at its end, which belong to the answer's first token.
const render = (messages) =>
    new Template(template)
        .render({ messages, add_generation_prompt: true, ...words, ...request.template_options })
        .replace(/ +$/, "");
const all = shown.length * vocabulary;
const flat = new Float32Array(all);
shown.forEach((values, place) => flat.set(values, place * vocabulary));
const answer = {
    reader: { name: "llama.cpp", version: llama.llamaCppRelease?.release ?? "", through: "node-llama-cpp " + (await getModuleVersion()) },
    misfits: {},
    // As the file says, not as llama.cpp guesses from the names of tokens: others that read the file do not guess.
    ends: ["eos", "eot", "eom"].map((kind) => metadata.tokenizer.ggml[`${kind}_token_id`]).filter((one) => one != null),
    // llama.cpp's way with SentencePiece: a space before every text, also where one is there.
    puts_space: metadata.tokenizer.ggml.add_space_prefix === true,
    greedy,
    ids: request.texts.map((text) => [...model.tokenize(text, false)]),
    rendered: template === null ? [] : request.conversations.map((one) => [...model.tokenize(render(one), true)]),
    template,
    arrays: {
        losses: write("losses", losses, [losses.length]),
        hits: write("hits", hits, [hits.length]),
        shown: write("shown", flat, [shown.length, vocabulary]),
    },
};
fs.writeFileSync(path.join(answerFolder, "answer.json"), JSON.stringify(answer));
await context.dispose();
await model.dispose();
process.exit(0);
