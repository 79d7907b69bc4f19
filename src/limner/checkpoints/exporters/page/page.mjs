// Pictures of model.onnx, by onnxruntime-web beside this file; model.json says what goes in.

import * as ort from "./ort.wasm.min.mjs";
import { latent } from "./latents.mjs";

const SMALLEST = 128; // pixels of a picture's side on the page
const find = (id) => document.getElementById(id);

ort.env.wasm.numThreads = 1;
const facts = await (await fetch("model.json")).json();
const [channels, height, width] = facts.image_shape;
const slider = find("truncation");
// With styles 1 is none; latents of a normal are hardly beyond 3.
const NONE = facts.has_styles ? "1" : "3";
slider.max = NONE;
slider.value = NONE;

let session = null, before = Promise.resolve(); // a session makes one picture at a time

/** Floats [C, H, W], nominally in [-1, 1]; without a truncation, give null. */
async function draw(seed, index = 0, truncation = null) {
  const bound = facts.has_styles ? null : truncation;
  const feeds = { z: new ort.Tensor("float32", latent(seed, facts.z_dim, bound), [1, facts.z_dim]) };
  if (facts.num_classes) {
    const row = new Float32Array(facts.num_classes);
    row[index] = 1;
    feeds.y = new ort.Tensor("float32", row, [1, facts.num_classes]);
  }
  if (facts.has_styles) feeds.truncation = new ort.Tensor("float32", [truncation ?? 1], [1]);
  const run = before.then(() => session.run(feeds));
  before = run.catch(() => null);
  return (await run).images.data;
}

/** Bytes of red, green, blue and alpha, as limner rounds them. */
function pixels(floats) {
  const bytes = Uint8ClampedArray.from(floats, (x) => Math.fround(Math.fround(127.5 * x) + 127.5));
  const count = height * width, data = new Uint8ClampedArray(4 * count);
  const plane = (channel, i) => bytes[channel * count + i];
  const gray = channels < 3, alpha = channels === 2 ? 1 : channels === 4 ? 3 : null;
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < 3; k++) data[4 * i + k] = plane(gray ? 0 : k, i);
    data[4 * i + 3] = alpha === null ? 255 : plane(alpha, i);
  }
  return new ImageData(data, width, height);
}

function show(floats, text) {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const scale = Math.max(1, Math.round(SMALLEST / Math.max(height, width)));
  canvas.style.width = `${scale * width}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", text);
  canvas.getContext("2d").putImageData(pixels(floats), 0, 0);
  const caption = document.createElement("figcaption");
  caption.textContent = text;
  figure.append(canvas, caption);
  find("pictures").append(figure);
}

function asked() {
  const index = Number(find("class").value || 0), seed = Number(find("seed").value);
  const truncation = slider.value === NONE ? null : Number(slider.value);
  return { index, seed, num: Number(find("num").value), truncation };
}

function command({ index, seed, num, truncation }) {
  const words = [`limner sample MODEL --seed ${seed} --num ${num}`];
  if (facts.num_classes) words.push(`--classes ${index}`);
  if (truncation !== null) words.push(`--truncation ${truncation}`);
  return words.join(" ");
}

let turn = 0; // a new request ends the one before

async function drawAll() {
  const mine = ++turn, want = asked();
  find("pictures").replaceChildren();
  find("command").textContent = command(want);
  const began = performance.now();
  for (let i = 0; i < want.num; i++) {
    const floats = await draw(want.seed + i, want.index, want.truncation);
    if (mine !== turn) return;
    show(floats, `seed ${want.seed + i}`);
    await new Promise((done) => setTimeout(done));
  }
  const seconds = (performance.now() - began) / 1000;
  find("status").textContent = `${want.num} pictures in ${seconds.toFixed(1)} s`;
}

function tell(error) {
  find("status").textContent = `It did not work: ${error.message ?? error}`;
}

find("name").textContent = document.title = facts.name;
find("what").textContent = facts.what;
if (facts.num_classes) {
  find("class-row").hidden = false;
  for (let i = 0; i < facts.num_classes; i++) {
    find("class").append(new Option(facts.class_names[i] ?? String(i), String(i)));
  }
}
slider.addEventListener("input", () => {
  find("shown").textContent = slider.value === NONE ? "none" : slider.value;
});
find("asked").addEventListener("submit", (event) => {
  event.preventDefault();
  drawAll().catch(tell);
});
find("class").addEventListener("change", () => drawAll().catch(tell));
slider.addEventListener("change", () => drawAll().catch(tell));
find("next").addEventListener("click", () => {
  find("seed").value = asked().seed + asked().num;
  drawAll().catch(tell);
});

try {
  session = await ort.InferenceSession.create("model.onnx");
  find("draw").disabled = find("next").disabled = false;
  globalThis.limner = { draw, facts };
  await drawAll();
} catch (error) {
  tell(error);
}
