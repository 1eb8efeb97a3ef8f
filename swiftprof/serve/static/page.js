'use strict';
const facts = JSON.parse(document.getElementById('facts').textContent);
const $ = id => document.getElementById(id);
const plans = facts.variants.filter(v => v.plan);
let picture = null;  // a canvas with what the model sees, and the address of the file

$('model').textContent = `${facts.model}: ${facts.layers} layers` +
  (facts.visual_tokens ? `, ${facts.visual_tokens} visual tokens for every picture` : '');
$('keyfield').hidden = !facts.key;
if (!plans.length) $('go').textContent = 'Ask';

// --- choices

const option = (value, text) => Object.assign(document.createElement('option'), { value, textContent: text });
for (const name of new Set(plans.map(v => v.plan))) $('plan').append(option(name, name));
const chosen = () => plans.find(v => v.id === $('budget').value);

function offerBudgets() {
  $('budget').replaceChildren(...plans.filter(v => v.plan === $('plan').value).map(v =>
    option(v.id, `${v.budget === 'own' ? "the plan's own" : v.budget} (${percent(v.ratio)})`)));
  describe();
}
function describe() {
  const v = chosen();
  $('about').textContent = v ?
    `${v.method}, judged at layers ${v.pruning_layers.join(', ')}; ${percent(v.ratio)} of the visual tokens, as a mean over the layers` :
    'No plan is loaded: start the server with --plan plan.json.';
}
const percent = share => `${(100 * share).toFixed(0)} %`;
$('plan').onchange = offerBudgets;
$('budget').onchange = describe;
offerBudgets();

// --- the picture, in the frame that the model sees

async function show(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const { naturalWidth: w, naturalHeight: h } = image;
  const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
  const side = { pad: Math.max(w, h), crop: Math.min(w, h) }[facts.fit];
  const [width, height] = side ? [side, side] : [w, h];
  const scale = Math.min(1, 1000 / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  pen.fillStyle = facts.pad;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, (width - w) / 2 * scale, (height - h) / 2 * scale, w * scale, h * scale);
  picture = { canvas, url };
  const preview = $('preview'), ratio = canvas.height / canvas.width;
  preview.width = 440; preview.height = Math.round(440 * ratio);
  preview.style.height = `${Math.round(220 * ratio)}px`;
  const to = preview.getContext('2d');
  to.imageSmoothingEnabled = canvas.width > 440;
  to.drawImage(canvas, 0, 0, preview.width, preview.height);
}
$('file').onchange = () => {
  const file = $('file').files[0];
  if (!file) return;
  const reader = new FileReader();
  reader.onload = () => show(reader.result).then(() => { $('known').textContent = ''; complain(''); },
    () => complain('This file is not a picture that the browser can show.'));
  reader.readAsDataURL(file);
};
for (const example of facts.examples) {
  const button = Object.assign(document.createElement('button'), { type: 'button', title: example.question });
  button.append(Object.assign(new Image(), { src: example.image, alt: example.question }));
  button.onclick = () => {
    $('question').value = example.question;
    $('known').textContent = `Right: ${example.answer}`;
    return show(example.image);
  };
  $('examples').append(button);
  $('examples').hidden = false;
}
if (facts.examples.length) $('examples').firstChild.onclick();

// --- asking

const complain = text => { $('error').textContent = text; $('error').hidden = !text; };

$('ask').onsubmit = async submitted => {
  submitted.preventDefault();
  if (!picture) return complain('Choose a picture first.');
  complain('');
  const v = chosen();
  $('answers').hidden = false;
  $('right').hidden = !v;
  $('patches').hidden = true;
  $('go').disabled = true;
  for (const card of [$('left'), $('right')]) fill(card, '', []);
  if (v) $('right').querySelector('h2').textContent = v.id;
  try {
    // One after the other: together they would take each other's time.
    const plain = await ask('vanilla', $('left'));
    if (v) {
      const pruned = await ask(v.id, $('right'), plain);
      drawStages(pruned);
    }
  } catch (error) {
    complain(error.message);
  } finally {
    $('go').disabled = false;
  }
};

async function ask(model, card, beside) {
  const content = [{ type: 'image_url', image_url: { url: picture.url } }, { type: 'text', text: $('question').value }];
  const headers = { 'Content-Type': 'application/json' };
  if ($('key').value) headers.Authorization = `Bearer ${$('key').value}`;
  const body = { model, messages: [{ role: 'user', content }], stream: true, temperature: 0,
    max_tokens: Number($('most').value), swiftprof: { trace: true } };
  const answer = await fetch('/v1/chat/completions', { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const said = card.querySelector('.answer');
  let trace = null;
  for await (const event of events(answer.body)) {
    if (event.error) throw new Error(event.error.message);
    said.textContent += event.choices[0]?.delta.content ?? '';
    trace = event.swiftprof ?? trace;
  }
  if (!trace) throw new Error('The server went away in the middle of an answer.');
  fill(card, said.textContent, lines(trace, beside));
  return trace;
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ''; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (held + value).split('\n\n');
    held = parts.pop();
    for (const part of parts) if (part !== 'data: [DONE]') yield JSON.parse(part.slice(6));
  }
}

function lines(trace, beside) {
  const milliseconds = s => `${(1000 * s).toFixed(s < .1 ? 1 : 0)} ms`;
  const faster = (now, then) => then ? `${(then / now).toFixed(2)}× as fast as unpruned` : '';
  return [
    ['Visual tokens', `${trace.retained_visual_tokens.toFixed(1)} of ${trace.visual_tokens}`, 'mean over the layers'],
    ['Prefill', `${(1000 * trace.prefill_tflops).toPrecision(3)} GFLOPs`,
      beside ? `${(100 * trace.prefill_tflops / beside.prefill_tflops).toFixed(0)} % of the unpruned model's` : ''],
    ['First token', milliseconds(trace.first_token_seconds), faster(trace.first_token_seconds, beside?.first_token_seconds)],
    ['Answer', `${trace.completion_tokens} tokens in ${milliseconds(trace.seconds)}`, ''],
  ];
}

function fill(card, text, rows) {
  card.querySelector('.answer').textContent = text;
  card.querySelector('dl').replaceChildren(...rows.flatMap(([name, value, note]) => {
    const dt = document.createElement('dt'), dd = document.createElement('dd');
    dt.textContent = name;
    dd.textContent = `${value} `;
    if (note) dd.append(Object.assign(document.createElement('em'), { textContent: note }));
    return [dt, dd];
  }));
}

// --- patches

function drawStages(trace) {
  if (!trace.stages.length || !trace.grid) return;
  $('patches').hidden = false;
  $('stages').replaceChildren(...trace.stages.map((stage, j) => {
    const figure = document.createElement('figure'), caption = document.createElement('figcaption');
    const { title, kept, merged, returned } = stage;
    figure.append(paint(trace.grid, stage), caption);
    caption.textContent = `Stage ${j + 1}, ${title}: ${kept.length} go on` +
      (returned.length ? `, ${returned.length} of them came back` : '') + (merged.length ? `; ${merged.length} merged` : '');
    return figure;
  }));
}

function paint([rows, columns], { kept, merged, returned }) {
  const stays = new Set(kept);
  const cell = Math.max(8, Math.round(480 / columns)), canvas = document.createElement('canvas');
  canvas.width = columns * cell;
  canvas.height = rows * cell;
  const pen = canvas.getContext('2d');
  pen.imageSmoothingEnabled = picture.canvas.width > canvas.width;
  pen.drawImage(picture.canvas, 0, 0, canvas.width, canvas.height);
  const at = i => [i % columns * cell, Math.floor(i / columns) * cell];
  pen.fillStyle = 'rgba(255, 255, 255, .8)';
  for (let i = 0; i < columns * rows; i++) if (!stays.has(i)) pen.fillRect(...at(i), cell, cell);
  const frame = (i, colour, dash) => {
    const [x, y] = at(i);
    pen.strokeStyle = colour;
    pen.lineWidth = Math.max(2, cell / 12);
    pen.setLineDash(dash);
    pen.strokeRect(x + cell * .08, y + cell * .08, cell * .84, cell * .84);
  };
  for (const i of merged) frame(i, '#0072b2', [cell / 5, cell / 7]);
  for (const i of returned) frame(i, '#d55e00', []);
  return canvas;
}
