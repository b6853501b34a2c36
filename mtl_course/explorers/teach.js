// Teach it yourself: a camera, or files; ten pictures of each thing; then live answers.
// Pictures are cut square and go to the kernel as JPEG, one message each. The kernel computes
// features, trains a head and answers, see teach.py. At most one question waits for its answer.
//
// data: {names, size, missing}. To the kernel: {do, thing, place} and a picture's bytes.
// From it: {do} with sure (of each thing), thing and url (kept), refused (why a picture is not), or
// pictures (URLs by thing), ready (is there a head), said, unsure ([thing, place, sure, taken for]).

const [TEN, EVERY, PATIENCE] = [10, 150, 4000]; // pictures a press, and milliseconds
const PAINTS = ["#0072b2", "#d55e00", "#009e73", "#a0527e", "#56606b"];
const NO_CAMERA = {
  NotFoundError: "No camera was found. Plug one in, or choose pictures from files.",
  NotAllowedError:
    "The browser was not allowed to use the camera. Allow it beside the page's address and press " +
    "again, or choose pictures from files.",
  NotReadableError: "The camera is in use by another program. Close that and press again.",
};
const INSECURE =
  "The browser lends its camera only to pages from this machine or by https. Choose pictures from " +
  "files.";
const OPENING = "Turn the camera on, or choose pictures from files.";

const STYLE = `
.mtl-camera { color: var(--jp-content-font-color1, inherit); font-size: 14px; line-height: 1.4;
  box-sizing: border-box; max-width: 900px; padding: 0 6px 6px; container-type: inline-size }
.mtl-camera p { margin: 6px 0; color: inherit }
.mtl-camera .parts { display: grid; gap: 8px 20px }
@container (min-width: 560px) { .mtl-camera .parts { grid-template-columns: 240px 1fr } }
.mtl-camera video, .mtl-camera .asked { display: block; width: 240px; height: 240px;
  object-fit: cover; background: #222; border-radius: 4px }
.mtl-camera .mirrored { transform: scaleX(-1) }
.mtl-camera [hidden] { display: none }
.mtl-camera button, .mtl-camera .file { font: inherit; padding: 5px 12px; border: 1px solid #767676;
  border-radius: 4px; color: black; background: #eee; cursor: pointer; display: inline-block }
.mtl-camera .file input { position: absolute; opacity: 0; width: 1px; height: 1px }
.mtl-camera :is(button:focus-visible, .file:focus-within) { outline: 3px solid #0072b2;
  outline-offset: 2px; box-shadow: 0 0 0 2px white }
.mtl-camera .row { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin: 4px 0 }
.mtl-camera fieldset { border: 0; border-left: 6px solid; padding: 0 0 4px 10px; margin: 0 0 8px }
.mtl-camera legend { color: var(--jp-content-font-color1, inherit); padding: 0; font-weight: bold;
  font-size: 15px; float: left; width: 100% }
.mtl-camera .row { clear: both }
.mtl-camera .kept { display: flex; flex-wrap: wrap; gap: 3px; max-height: 132px; overflow: auto;
  padding: 3px }
.mtl-camera .kept button { padding: 0; border-width: 1px; line-height: 0; border-radius: 2px }
.mtl-camera .kept img { width: 40px; height: 40px }
.mtl-camera .bar { display: grid; grid-template-columns: minmax(60px, 30%) 1fr 48px; gap: 8px;
  align-items: center; margin: 3px 0 }
.mtl-camera .bar b { overflow: hidden; text-overflow: ellipsis }
.mtl-camera .bar i { display: block; height: 16px; border-radius: 2px; min-width: 1px }
.mtl-camera .bar span { text-align: right }
.mtl-camera .mtl-answer { min-height: 2.8em }
.mtl-camera .unsure { display: flex; flex-wrap: wrap; gap: 10px }
.mtl-camera figure { margin: 0; width: 112px; font-size: 12px; line-height: 1.25 }
.mtl-camera figure img { width: 84px; height: 84px; display: block }`;

/** The middle of a video or picture, cut square, as the bytes of a small JPEG. */
async function shrunk(source, wide, high, size) {
  const [canvas, side] = [make("canvas", { width: size, height: size }), Math.min(wide, high)];
  const [left, top] = [(wide - side) / 2, (high - side) / 2];
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, left, top, side, side, 0, 0, size, size);
  const file = await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.92));
  return file.arrayBuffer();
}

const percent = share => `${Math.round(100 * share)} %`;
const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));

function render({ model, el }) {
  const { names, size, missing } = model.get("data");
  const say = text => (answer.textContent = text);
  const tell = (message, picture) => model.send(message, undefined, picture ? [picture] : []);
  let [camera, ready, busy, here, refused] = [null, false, false, true, ""];
  let pictures = names.map(() => []);
  const [asked, times] = [{ since: 0, aloud: false }, []]; // the question that waits; the answers

  // ----------------------------------------------------------------------------- camera and files

  async function toggle() {
    if (camera) return off("The camera is off.");
    if (!navigator.mediaDevices?.getUserMedia) return say(INSECURE);
    try {
      const wanted = { width: { ideal: 640 }, height: { ideal: 480 } };
      camera = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      return say(NO_CAMERA[error.name] ?? `The camera does not start: ${error.message}.`);
    }
    if (!here) return off("");
    camera.getVideoTracks()[0].addEventListener("ended", () => off("The camera has gone."));
    video.srcObject = camera;
    await video.play().catch(() => {});
    power.textContent = "Turn the camera off";
    shown(true);
    say(`The camera is on. Show it ${names[0]}, and take ten pictures.`);
    return watch();
  }

  function off(text) {
    for (const track of camera?.getTracks() ?? []) track.stop();
    camera = video.srcObject = null;
    power.textContent = "Turn the camera on";
    shown(false);
    say(text);
  }

  function shown(live) {
    video.hidden = !live;
    still.hidden = live || !still.getAttribute("src");
  }

  const frame = () => shrunk(video, video.videoWidth, video.videoHeight, size);

  /** Ask about one frame after the other; never before the last one's answer has come. */
  async function watch() {
    while (here && camera) {
      const late = asked.since && performance.now() - asked.since > PATIENCE;
      if (late) speed.textContent = "The kernel is busy with another cell.";
      if (ready && !busy && !asked.since && video.videoWidth) await look(await frame(), false);
      await wait(ready ? 20 : 100);
    }
  }

  async function look(bytes, aloud) {
    Object.assign(asked, { since: performance.now(), aloud });
    tell({ do: "look" }, bytes);
  }

  async function ten(thing) {
    if (busy) return;
    if (!camera) return say(`Turn the camera on first, or choose pictures of ${names[thing]}.`);
    busy = true;
    for (let k = 1; k <= TEN && camera; k++) {
      if (video.videoWidth) tell({ do: "keep", thing }, await frame());
      say(`${names[thing]}: picture ${k} of ${TEN}. Turn it a little.`);
      await wait(EVERY);
    }
    busy = false;
    tell({ do: "learn" });
  }

  async function opened(file) {
    const picture = await createImageBitmap(file).catch(() => null);
    if (!picture) refused = `${file.name} is no picture that this browser reads.`;
    return picture && shrunk(picture, picture.width, picture.height, size);
  }

  async function files(thing, list) {
    busy = true;
    for (const [k, file] of [...list].entries()) {
      say(`${names[thing]}: ${k + 1} of ${list.length} …`);
      const bytes = await opened(file);
      if (bytes) tell({ do: "keep", thing }, bytes);
    }
    busy = false;
    tell({ do: "learn" });
  }

  async function about(file) {
    if (!file) return;
    if (!ready) return say(`First teach it: it needs pictures of ${names.join(" and of ")}.`);
    const bytes = await opened(file);
    if (!bytes) return say(refused), (refused = "");
    still.src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    still.alt = `The picture asked about, ${file.name}`;
    shown(Boolean(camera));
    look(bytes, true);
  }

  // -------------------------------------------------------------------------- what the kernel says

  function hear(message) {
    if (message.refused) refused = message.refused;
    if (message.do === "keep") {
      if (message.url) pictures[message.thing].push(message.url), list(message.thing);
    } else if (message.do === "look") {
      const { aloud } = asked;
      asked.since = 0;
      bars(message.sure);
      times.push(performance.now());
      if (times.length > 9) times.shift();
      if (message.refused) return (speed.textContent = refused), (refused = "");
      const each = (times.length - 1) / (times.at(-1) - times[0]);
      speed.textContent = camera && each ? `${(1000 * each).toFixed(0)} answers a second` : "";
      const best = message.sure.indexOf(Math.max(...message.sure));
      if (aloud) say(`It says ${names[best]}, ${percent(message.sure[best])} sure.`);
    } else {
      ({ pictures, ready } = message);
      say(`${refused} ${message.do === "hello" && !ready ? OPENING : message.said}`.trim());
      refused = "";
      names.forEach((_, thing) => list(thing));
      doubts(message.unsure ?? []);
      if (!ready) bars();
    }
  }

  function list(thing) {
    counts[thing].textContent = `${names[thing]}: ${pictures[thing].length} pictures`;
    kept[thing].replaceChildren(
      ...pictures[thing].map((src, place) => {
        const title = `Remove picture ${place + 1} of ${names[thing]}`;
        const image = make("img", { src, alt: title });
        const button = make("button", { type: "button", title }, image);
        button.addEventListener("click", () => {
          (button.nextSibling ?? button.previousSibling ?? takes[thing]).focus();
          tell({ do: "drop", thing, place });
        });
        return button;
      }),
    );
  }

  function bars(sure) {
    names.forEach((name, thing) => {
      const share = sure?.[thing] ?? 0;
      lengths[thing].style.width = `${100 * share}%`;
      shares[thing].textContent = sure ? percent(share) : "";
    });
  }

  function doubts(unsure) {
    least.hidden = !unsure.length;
    row.replaceChildren(
      ...unsure.map(([thing, place, sure, taken]) => {
        const wrong = taken === thing ? "" : `, taken for ${names[taken]}`;
        const text = `${names[thing]}: ${percent(sure)}${wrong}`;
        const image = make("img", { src: pictures[thing][place], alt: text });
        return make("figure", {}, image, make("figcaption", {}, text));
      }),
    );
  }

  // -------------------------------------------------------------------------------------- the page

  const chooser = (text, many, chosen) => {
    const input = make("input", { type: "file", accept: "image/*", ...(many && { multiple: "" }) });
    input.addEventListener("change", () => {
      chosen([...input.files]);
      input.value = ""; // so that the same file may be chosen again
    });
    return make("label", { class: "file" }, text, input);
  };
  const press = (text, pressed) => {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", pressed);
    return button;
  };
  const answer = make("p", { class: "mtl-answer", "aria-live": "polite" }, missing || OPENING);
  const video = make("video", { class: "mirrored", playsinline: "", hidden: "" });
  const still = make("img", { class: "asked", alt: "", hidden: "" });
  video.muted = true;
  const power = press("Turn the camera on", toggle);
  const ask = chooser("Ask about a file", false, ([file]) => about(file));
  const counts = names.map(name => make("legend", {}, `${name}: 0 pictures`));
  const takes = names.map((name, k) => press(`Take ten of ${name}`, () => ten(k)));
  const kept = names.map(() => make("div", { class: "kept" }));
  const lengths = names.map((_, k) => make("i", { style: `background: ${PAINTS[k]}; width: 0` }));
  const shares = names.map(() => make("span"));
  const speed = make("p", { class: "speed" });
  const row = make("div", { class: "unsure" });
  const least = make("div", { hidden: "" }, make("p", {}, "It is least sure of these:"), row);
  const teaching = names.map((name, k) => {
    const from = chooser(`Choose files of ${name}`, true, chosen => files(k, chosen));
    const forget = press(`Forget ${name}`, () => tell({ do: "forget", thing: k }));
    const buttons = make("div", { class: "row" }, takes[k], from, forget);
    return make("fieldset", { style: `border-color: ${PAINTS[k]}` }, counts[k], buttons, kept[k]);
  });
  const answers = names.map((name, k) =>
    make("div", { class: "bar" }, make("b", {}, name), make("div", {}, lengths[k]), shares[k]),
  );
  const first = make("div", { class: "row" }, power, ask);
  const left = make("div", {}, video, still, make("div", {}, ...answers), speed);
  const parts = make("div", { class: "parts mtl-picture" }, left, make("div", {}, ...teaching));
  // JupyterLab would take the keys for its own commands.
  const whole = make("div", { class: "mtl-camera", "data-lm-suppress-shortcuts": "true" });
  whole.append(make("style", {}, STYLE), ...(missing ? [answer] : [first, answer, parts, least]));

  model.on("msg:custom", hear);
  el.replaceChildren(whole);
  if (!missing) tell({ do: "hello" });
  return () => {
    here = false;
    off("");
    model.off("msg:custom", hear);
  };
}

export default { render };
