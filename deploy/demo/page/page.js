// Sends a photograph to server.py and shows what response.py returns for it.
"use strict";

const $ = (id) => document.getElementById(id);
const readable = (name) => name.replaceAll("_", " ");
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

let result = null; // of the photograph that is shown
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

let sending = new AbortController(); // of the photograph that is on its way

async function send(path, body) {
  sending.abort();
  const own = (sending = new AbortController());
  $("message").className = "";
  $("message").textContent = "Segmenting…";
  document.body.classList.add("busy");
  try {
    const type = { "content-type": "application/octet-stream" };
    const response = await fetch(path, { method: "POST", body, headers: type, signal: own.signal });
    // A proxy, or a server with no place left, answers in other words than ours.
    const content = await response.json().catch(() => ({ error: `The server answers with ${response.status}.` }));
    if (!response.ok) throw new Error(content.error);
    if (own === sending) await show(content);
    if (own === sending) $("message").textContent = "";
  } catch (error) {
    if (own !== sending) return;
    $("message").className = "error";
    $("message").textContent = error instanceof TypeError ? "The server did not respond, or stopped receiving the file." : error.message;
  } finally {
    if (own === sending) document.body.classList.remove("busy");
  }
}

const sendFile = (file) => file && send("segment", file);

$("file").addEventListener("change", (event) => {
  sendFile(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
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
  button.addEventListener("click", () => send(`examples/${button.dataset.number}`));
}

// ---- the result

async function show(content) {
  const unpacked = [];
  for (const url of content.planes) unpacked.push(...(await unpack(url, content)));
  result = content;
  planes = unpacked;
  $("photograph").src = result.photograph;
  $("stage").style.width = `min(100%, ${(75 * result.width) / result.height}vh)`;
  $("overlay").width = result.width;
  $("overlay").height = result.height;
  $("point").hidden = true;
  $("readout").replaceChildren(element("p", "faint", "Point at the photograph, or tap it."));
  showLayers();
  showExperts();
  $("result").hidden = false;
}

async function unpack(url, { width, height }) {
  const image = new Image();
  image.src = url;
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
  const deepest = result.levels.length - 1;
  const layers = ["photograph", ...result.levels.keys(), "uncertainty"];
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
  const pixels = context.createImageData(result.width, result.height);
  if (typeof layer === "number") paintLevel(pixels, result.levels[layer]);
  if (layer === "uncertainty") paintUncertainty(pixels);
  context.putImageData(pixels, 0, 0);
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
  $("legend-title").textContent = titles[layer] ?? `Level ${layer}: share of the image`;
  if (layer === "photograph") return $("legend").replaceChildren();
  if (layer === "uncertainty") {
    const ramp = element("div");
    ramp.id = "ramp";
    const ends = element("div", "ends faint", element("span", "", "certain"), element("span", "", "all classes equally probable"));
    return $("legend").replaceChildren(ramp, ends);
  }
  const counts = result.leaves.map(() => 0);
  for (const leaf of planes[0]) counts[leaf] += 1;
  $("legend").replaceChildren(
    ...result.levels[layer].map(({ name, colour, leaves }) => {
      const share = leaves.reduce((sum, leaf) => sum + counts[leaf], 0) / planes[0].length;
      return element("li", "", swatch(colour), readable(name), element("span", "faint", percent(share)));
    }),
  );
}

$("opacity").addEventListener("input", () => ($("overlay").style.opacity = $("opacity").value / 100));

// ---- downloads, at the size that is shown

const painters = {
  labels({ data }) {
    planes[0].forEach((leaf, i) => data.set([result.ids[leaf], result.ids[leaf], result.ids[leaf], 255], 4 * i));
  },
  cutout({ data }) {
    const background = result.levels[0].find(({ colour }) => !colour)?.leaves ?? [];
    for (let i = 0; i < planes[0].length; i++) {
      const foreground = 1 - background.reduce((sum, leaf) => sum + planes[2 + leaf][i] / 255, 0);
      data[4 * i + 3] = 255 * Math.max(0, Math.min(1, 2 * foreground - 0.5)); // as predict --cutout
    }
  },
};

function download(kind) {
  const canvas = element("canvas");
  canvas.width = result.width;
  canvas.height = result.height;
  const context = canvas.getContext("2d");
  if (kind !== "labels") context.drawImage($("photograph"), 0, 0);
  if (kind === "overlay") {
    context.globalAlpha = $("opacity").value / 100;
    context.drawImage($("overlay"), 0, 0);
  } else {
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    painters[kind](pixels);
    context.putImageData(pixels, 0, 0);
  }
  canvas.toBlob((blob) => {
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${kind}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

for (const button of document.querySelectorAll(".downloads button")) {
  button.addEventListener("click", () => download(button.dataset.kind));
}

// ---- the point

const point = { x: 0, y: 0 }; // pixels of the photograph

function moveTo(x, y) {
  point.x = Math.max(0, Math.min(result.width - 1, Math.floor(x)));
  point.y = Math.max(0, Math.min(result.height - 1, Math.floor(y)));
  $("point").hidden = false;
  $("point").style.left = `${(100 * (point.x + 0.5)) / result.width}%`;
  $("point").style.top = `${(100 * (point.y + 0.5)) / result.height}%`;
  readOut();
}

function pointed(event) {
  const frame = $("photograph").getBoundingClientRect();
  moveTo(((event.clientX - frame.left) / frame.width) * result.width, ((event.clientY - frame.top) / frame.height) * result.height);
}
$("stage").addEventListener("pointermove", pointed);
$("stage").addEventListener("pointerdown", pointed);
$("stage").addEventListener("keydown", (event) => {
  const step = Math.max(1, Math.round(result.width / 100));
  const [x, y] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [0, 0];
  if (!x && !y) return;
  event.preventDefault();
  moveTo(point.x + x, point.y + y);
});

function readOut() {
  const i = point.y * result.width + point.x;
  const leaf = planes[0][i];
  const shares = result.leaves.map((_, k) => planes[2 + k][i]);
  const total = shares.reduce((sum, share) => sum + share, 0) || 1;
  const probability = ({ leaves }) => leaves.reduce((sum, k) => sum + shares[k], 0) / total;

  const path = [];
  for (const classes of result.levels) {
    const holder = classes.find(({ leaves }) => leaves.includes(leaf));
    if (path.at(-1)?.name !== holder.name) path.push(holder);
  }
  const words = path.flatMap(({ name }) => [" → ", element("b", "", readable(name))]).slice(1);
  const shown = result.levels[typeof layer === "number" ? layer : result.levels.length - 1];
  const uncertainty = planes[1][i] / 255;
  $("readout").replaceChildren(
    element("p", "path", ...words),
    ...shown.map((one) =>
      element("div", "row", swatch(one.colour), element("span", "", readable(one.name)), bar(probability(one), one.colour), element("span", "value", percent(probability(one)))),
    ),
    element("div", "row uncertain faint", element("span"), element("span", "", "uncertainty"), bar(uncertainty), element("span", "value", percent(uncertainty))),
  );
}

// ---- the experts

function showExperts() {
  $("experts").replaceChildren(...result.experts.map(expertItem));
}

function expertItem({ expert, children, region, share, views }) {
  const names = children.map(({ name }) => readable(name));
  const choice = `${names.slice(0, -1).join(", ")} or ${names.at(-1)}?`;
  const head = element("h3", "", `${readable(expert)}: ${choice}`);
  if (!views.length) {
    return element("li", "", head, element("p", "faint", "The region is empty, so this expert did not run."));
  }
  const whole = figure(region, `region: ${percent(share)} of the image`);
  const items = views.map((view, k) => viewItem(view, children, views.length > 1 ? `, view ${k + 1}` : ""));
  return element("li", "", head, element("div", "trace", whole, element("div", "views", ...items)));
}

function viewItem(view, children, number) {
  const shares = children.map(({ name, colour }, i) =>
    element("li", "", swatch(colour), readable(name), element("span", "value", percent(view.shares[i]))),
  );
  return element(
    "div",
    "view",
    figure(view.input, `input${number}`),
    figure(view.prediction, `prediction${number}`),
    element("ul", "shares", ...shares),
  );
}

function figure(url, caption) {
  const image = element("img");
  image.src = url;
  image.alt = caption;
  return element("figure", "", image, element("figcaption", "", caption));
}
