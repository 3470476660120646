// The page of demo.py: sends a photograph, shows the answer of demo_answer.py.
"use strict";

const $ = (id) => document.getElementById(id);
const spoken = (name) => name.replaceAll("_", " ");
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

let answer = null; // of the photograph that is shown
let planes = null; // Uint8Array for each plane: leaf, uncertainty, probability of each leaf
let layer = null; // number of a level, "photograph" or "uncertainty"

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function swatch(colour) {
  const made = element("span", "swatch");
  made.style.background = colour ?? "transparent";
  return made;
}

function bar(share, colour) {
  const fill = element("i");
  fill.style.width = `${100 * share}%`;
  if (colour) fill.style.background = colour;
  return element("span", "bar", fill);
}

// ---- sending

async function send(path, body) {
  $("message").className = "";
  $("message").textContent = "The experts are looking…";
  document.body.classList.add("busy");
  try {
    const type = { "content-type": "application/octet-stream" };
    const response = await fetch(path, { method: "POST", body, headers: type });
    const content = await response.json();
    if (!response.ok) throw new Error(content.error);
    await show(content);
    $("message").textContent = "";
  } catch (error) {
    $("message").className = "error";
    $("message").textContent = error instanceof TypeError ? "The server does not answer, or took no more of the file." : error.message;
  } finally {
    document.body.classList.remove("busy");
  }
}

const sendFile = (file) => file && send("/segment", file);

$("file").addEventListener("change", (event) => {
  sendFile(event.target.files[0]);
  event.target.value = ""; // the same file may be chosen again
});
$("drop").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") $("file").click();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  sendFile(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => sendFile(event.clipboardData.files[0]));
for (const button of document.querySelectorAll("#examples button")) {
  button.addEventListener("click", () => send(`/examples/${button.dataset.number}`));
}

// ---- the answer

async function show(content) {
  const unpacked = [];
  for (const address of content.planes) unpacked.push(...(await unpack(address, content)));
  answer = content;
  planes = unpacked;
  $("photograph").src = answer.photograph;
  $("stage").style.width = `min(100%, ${(75 * answer.width) / answer.height}vh)`;
  $("overlay").width = answer.width;
  $("overlay").height = answer.height;
  $("point").hidden = true;
  $("readout").replaceChildren(element("p", "faint", "Move over the photograph, or tap it."));
  showLayers();
  showSteps();
  $("result").hidden = false;
}

async function unpack(address, { width, height }) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = element("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return [0, 1, 2].map((channel) => Uint8Array.from({ length: width * height }, (_, i) => data[4 * i + channel]));
}

function showLayers() {
  const deepest = answer.levels.length - 1;
  const layers = ["photograph", ...answer.levels.keys(), "uncertainty"];
  if (!layers.includes(layer)) layer = deepest;
  $("layers").replaceChildren(
    ...layers.map((one) => {
      const input = element("input");
      Object.assign(input, { type: "radio", name: "layer", checked: one === layer });
      input.addEventListener("change", () => {
        layer = one;
        paint();
      });
      return element("label", "", input, typeof one === "number" ? `level ${one}` : one);
    }),
  );
  paint();
}

// ---- the overlay

function paint() {
  const context = $("overlay").getContext("2d");
  const picture = context.createImageData(answer.width, answer.height);
  if (typeof layer === "number") paintLevel(picture, answer.levels[layer]);
  if (layer === "uncertainty") paintUncertainty(picture);
  context.putImageData(picture, 0, 0);
  $("overlay").style.opacity = $("opacity").value / 100;
  $("photograph").classList.toggle("pale", layer !== "photograph");
  $("opacity").disabled = layer === "photograph";
  showLegend();
  if (!$("point").hidden) readOut();
}

const rgb = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

function paintLevel({ data, width }, classes) {
  const classOf = [];
  classes.forEach(({ leaves }, k) => leaves.forEach((leaf) => (classOf[leaf] = k)));
  const at = (i) => classOf[planes[0][i]];
  const colours = classes.map(({ colour }) => colour && rgb(colour));
  for (let i = 0; i < planes[0].length; i++) {
    const colour = colours[at(i)];
    if (!colour) continue; // background
    const edge = (i % width && at(i - 1) !== at(i)) || (i >= width && at(i - width) !== at(i));
    data.set(colour.map((value) => (edge ? 0.4 * value : value)), 4 * i);
    data[4 * i + 3] = 255;
  }
}

const RAMP = ["#000000", "#57106e", "#bc3754", "#f98e09", "#fcffa4"].map(rgb);

function paintUncertainty({ data }) {
  for (let i = 0; i < planes[1].length; i++) {
    const place = (planes[1][i] / 255) * (RAMP.length - 1);
    const k = Math.min(Math.floor(place), RAMP.length - 2);
    const colour = RAMP[k].map((value, c) => value + (place - k) * (RAMP[k + 1][c] - value));
    data.set([...colour, 255], 4 * i);
  }
}

function showLegend() {
  const titles = { photograph: "", uncertainty: "Uncertainty" };
  $("legend-title").textContent = titles[layer] ?? `Level ${layer}, share of the image`;
  if (layer === "photograph") return $("legend").replaceChildren();
  if (layer === "uncertainty") {
    const ramp = element("div");
    ramp.id = "ramp";
    const ends = element("div", "ends faint", element("span", "", "certain"), element("span", "", "all classes alike"));
    return $("legend").replaceChildren(ramp, ends);
  }
  const counts = answer.leaves.map(() => 0);
  for (const leaf of planes[0]) counts[leaf] += 1;
  $("legend").replaceChildren(
    ...answer.levels[layer].map(({ name, colour, leaves }) => {
      const share = leaves.reduce((sum, leaf) => sum + counts[leaf], 0) / planes[0].length;
      return element("li", "", swatch(colour), spoken(name), element("span", "faint", percent(share)));
    }),
  );
}

$("opacity").addEventListener("input", () => ($("overlay").style.opacity = $("opacity").value / 100));

// ---- the point

const point = { x: 0, y: 0 }; // pixels of the photograph

function moveTo(x, y) {
  point.x = Math.max(0, Math.min(answer.width - 1, Math.floor(x)));
  point.y = Math.max(0, Math.min(answer.height - 1, Math.floor(y)));
  $("point").hidden = false;
  $("point").style.left = `${(100 * (point.x + 0.5)) / answer.width}%`;
  $("point").style.top = `${(100 * (point.y + 0.5)) / answer.height}%`;
  readOut();
}

function pointed(event) {
  const frame = $("photograph").getBoundingClientRect();
  moveTo(((event.clientX - frame.left) / frame.width) * answer.width, ((event.clientY - frame.top) / frame.height) * answer.height);
}
$("stage").addEventListener("pointermove", pointed);
$("stage").addEventListener("pointerdown", pointed);
$("stage").addEventListener("keydown", (event) => {
  const step = Math.max(1, Math.round(answer.width / 100));
  const [x, y] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [0, 0];
  if (!x && !y) return;
  event.preventDefault();
  moveTo(point.x + x, point.y + y);
});

function readOut() {
  const i = point.y * answer.width + point.x;
  const leaf = planes[0][i];
  const shares = answer.leaves.map((_, k) => planes[2 + k][i]);
  const total = shares.reduce((sum, share) => sum + share, 0) || 1;
  const probability = ({ leaves }) => leaves.reduce((sum, k) => sum + shares[k], 0) / total;

  const path = [];
  for (const classes of answer.levels) {
    const holder = classes.find(({ leaves }) => leaves.includes(leaf));
    if (path.at(-1)?.name !== holder.name) path.push(holder);
  }
  const words = path.flatMap(({ name }) => [" → ", element("b", "", spoken(name))]).slice(1);
  const shown = answer.levels[typeof layer === "number" ? layer : answer.levels.length - 1];
  const uncertainty = planes[1][i] / 255;
  $("readout").replaceChildren(
    element("p", "path", ...words),
    ...shown.map((one) =>
      element("div", "row", swatch(one.colour), element("span", "", spoken(one.name)), bar(probability(one), one.colour), element("span", "value", percent(probability(one)))),
    ),
    element("div", "row uncertain faint", element("span"), element("span", "", "uncertainty"), bar(uncertainty), element("span", "value", percent(uncertainty))),
  );
}

// ---- the chain

function showSteps() {
  $("steps").replaceChildren(...answer.steps.map(step));
}

function step({ expert, children, share, handed, looks }) {
  const names = children.map(({ name }) => spoken(name));
  const question = `${names.slice(0, -1).join(", ")} or ${names.at(-1)}?`;
  const head = element("h3", "", `${spoken(expert)}: ${question}`);
  if (!looks.length) {
    return element("li", "", head, element("p", "faint", "Was handed no pixel, so nobody asked it."));
  }
  const whole = picture(handed, `handed down: ${percent(share)} of the image`);
  const squares = element("div", "looks", ...looks.map((look, k) => square(look, children, k)));
  return element("li", "", head, element("div", "views", whole, squares));
}

function square(look, children, k) {
  const shares = children.map(({ name, colour }, i) =>
    element("li", "", swatch(colour), spoken(name), element("span", "value", percent(look.shares[i]))),
  );
  return element(
    "div",
    "look",
    picture(look.input, k ? "looks again, closer" : "what it sees"),
    picture(look.answer, "what it answers"),
    element("ul", "shares", ...shares),
  );
}

function picture(address, words) {
  const image = element("img");
  image.src = address;
  image.alt = words;
  return element("figure", "", image, element("figcaption", "", words));
}
