"use strict";

const LONGEST_SIDE = 640; // pixels of the pictures that are sent
const SHOWN_S = 20; // of the curves
const TRAIL_S = 2; // of the plane
const RETRY_MS = 2000;
const GAP_S = 1; // a line is broken after this

const element = (id) => document.getElementById(id);
const video = element("video");
const grab = document.createElement("canvas"); // the picture that was sent
let source = null; // {stream, mirrored, name}, while there is one
let socket = null;
let retry = 0; // timer
let course = []; // {time, track, valence, arousal, faces}
let followed = null; // the track whose curves are shown
let sent = -1; // time of the picture that was sent
let newest = -1; // time of the picture that the source shows
let hungry = false; // whether the next one is to be sent at once

function tell(text) {
  if (element("notice").textContent !== text) {
    element("notice").textContent = text;
  }
}

// Sources: the camera, or a file.

async function useCamera() {
  stop();
  if (!navigator.mediaDevices) {
    tell("The camera needs https, or this very machine (localhost). A video works.");
    return;
  }
  tell("Waiting for the camera…");
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" },
    });
    stream.getVideoTracks()[0].onended = () => {
      stop();
      tell("The camera was turned off.");
    };
    video.srcObject = stream;
    begin({ stream, mirrored: true, name: "the camera" });
  } catch (error) {
    const reasons = {
      NotFoundError: "No camera was found. Connect one, or choose a video.",
      NotAllowedError: "This page may not use the camera. Allow it in the browser, or choose a video.",
      NotReadableError: "The camera is in use by another program.",
    };
    tell(reasons[error.name] || `The camera cannot be used: ${error.message}`);
  }
}

function useFile(file) {
  stop();
  tell(`Opening ${file.name}…`);
  video.src = URL.createObjectURL(file);
  begin({ mirrored: false, name: file.name });
}

function begin(from) {
  source = from;
  course = [];
  followed = null;
  sent = -1;
  element("hint").hidden = true;
  element("stop").hidden = false;
  element("camera").hidden = true;
  video.play().then(connect, () => {}); // onerror tells
}

function stop() {
  if (source && source.stream) {
    source.stream.getTracks().forEach((track) => track.stop());
  }
  if (video.src) {
    URL.revokeObjectURL(video.src);
  }
  source = null;
  video.removeAttribute("src");
  video.srcObject = null;
  disconnect();
  element("stop").hidden = true;
  element("camera").hidden = false;
  element("rate").textContent = "";
  tell("");
}

video.onerror = () => {
  if (source && video.src) {
    const { name } = source;
    stop();
    tell(`This browser cannot play ${name}. MP4 (H.264) and WebM usually work.`);
  }
};

video.onended = () => {
  const { name } = source;
  stop();
  tell(`${name} has ended.`);
};

// The server: a picture goes when the answer to the one before is there.

function connect() {
  const url = new URL(`live?faces=${element("faces").value}`, location);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.onopen = () => {
    tell("");
    send();
  };
  socket.onmessage = (message) => {
    show(JSON.parse(message.data));
    send();
  };
  socket.onclose = (event) => {
    socket = null;
    const why = event.code === 1013 ? `The server is busy: ${event.reason}` : "The connection to the server is lost";
    tell(`${why}. Trying again…`);
    retry = setTimeout(reconnect, RETRY_MS);
  };
}

function reconnect() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", reconnect, { once: true });
  } else if (source && !socket) {
    connect();
  }
}

function disconnect() {
  clearTimeout(retry);
  hungry = false;
  if (socket) {
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = null;
  }
}

function send() {
  if (!source || !socket || socket.readyState !== WebSocket.OPEN) {
    return;
  }
  hungry = !video.videoWidth || newest === sent; // none is sent twice
  if (hungry) {
    return;
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
  grab.width = Math.max(1, Math.round(video.videoWidth * scale));
  grab.height = Math.max(1, Math.round(video.videoHeight * scale));
  grab.getContext("2d").drawImage(video, 0, 0, grab.width, grab.height);
  sent = newest;
  const to = socket;
  grab.toBlob((blob) => to.readyState === WebSocket.OPEN && to.send(blob), "image/jpeg", 0.9);
}

function watch() {
  const seen = (time) => {
    newest = time;
    if (hungry) {
      send();
    }
    watch();
  };
  if (video.requestVideoFrameCallback) {
    video.requestVideoFrameCallback((_, picture) => seen(picture.mediaTime));
  } else {
    requestAnimationFrame(() => seen(video.currentTime));
  }
}

// What is shown: the picture that an answer is of, never a later one.

function show(answer) {
  if (answer.error) {
    tell(answer.error);
    return;
  }
  const { faces } = answer;
  const one = faces.find((face) => face.track === followed) || faces[0];
  followed = one ? one.track : followed;
  course.push({
    time: sent,
    track: one ? one.track : null,
    valence: one ? one.valence : null,
    arousal: one ? one.arousal : null,
    faces,
  });
  course = course.filter((point) => point.time > sent - SHOWN_S);
  tell(faces.length ? "" : `${answer.reason[0].toUpperCase()}${answer.reason.slice(1)}.`);
  element("valence").textContent = one ? signed(one.valence) : "–";
  element("arousal").textContent = one ? signed(one.arousal) : "–";
  const recent = course.filter((point) => point.time > sent - 2);
  const seconds = sent - recent[0].time;
  element("rate").textContent = seconds > 0.5 ? `${Math.round((recent.length - 1) / seconds)} pictures/s` : "";
  drawPicture(faces);
  draw();
}

function signed(value) {
  return value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

const color = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`);

function drawPicture(faces) {
  const canvas = element("picture");
  canvas.width = grab.width;
  canvas.height = grab.height;
  const context = canvas.getContext("2d");
  const side = (x, width = 0) => (source && source.mirrored ? canvas.width - x - width : x);
  context.save();
  if (source && source.mirrored) {
    context.scale(-1, 1);
    context.translate(-canvas.width, 0);
  }
  context.drawImage(grab, 0, 0);
  context.restore();
  const unit = canvas.width / 320;
  for (const face of faces) {
    const [x, y, width, height] = face.box;
    const left = side(x, width);
    const main = face.track === followed;
    context.lineWidth = unit * (main ? 1.5 : 1);
    context.strokeStyle = main ? "#7fd1ff" : "#d0d7de";
    context.strokeRect(left, y, width, height);
    context.fillStyle = "rgb(127 209 255 / 75%)";
    for (const [px, py] of face.landmarks) {
      context.fillRect(side(px) - unit / 2, py - unit / 2, unit, unit);
    }
    if (faces.length > 1) {
      context.font = `bold ${8 * unit}px sans-serif`;
      context.fillStyle = context.strokeStyle;
      context.fillText(`${face.track}`, left + 2 * unit, y + 9 * unit);
    }
  }
}

function prepared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "13px system-ui, 'DejaVu Sans', sans-serif";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  return { context, width, height };
}

function draw() {
  if (!element("plane").clientWidth) {
    return; // not laid out yet
  }
  drawPlane();
  drawCurves();
}

function drawPlane() {
  const { context, width, height } = prepared(element("plane"));
  const edge = 24;
  const x = (valence) => edge + ((valence + 1) / 2) * (width - 2 * edge);
  const y = (arousal) => edge + ((1 - arousal) / 2) * (height - 2 * edge);
  context.strokeStyle = color("line");
  context.strokeRect(x(-1), y(1), x(1) - x(-1), y(-1) - y(1));
  context.beginPath();
  context.ellipse(x(0), y(0), x(1) - x(0), y(-1) - y(0), 0, 0, 2 * Math.PI);
  context.moveTo(x(-1), y(0));
  context.lineTo(x(1), y(0));
  context.moveTo(x(0), y(-1));
  context.lineTo(x(0), y(1));
  context.stroke();
  context.fillStyle = color("quiet");
  context.textAlign = "center";
  context.fillText("excited", x(0), y(1) - edge / 2);
  context.fillText("calm", x(0), y(-1) + edge / 2);
  for (const [word, at, turn] of [["unpleasant", x(-1) - edge / 2, -1], ["pleasant", x(1) + edge / 2, 1]]) {
    context.save();
    context.translate(at, y(0));
    context.rotate((turn * Math.PI) / 2);
    context.fillText(word, 0, 0);
    context.restore();
  }
  const last = course[course.length - 1];
  if (!last) {
    return;
  }
  const inside = (value) => Math.max(-1.05, Math.min(1.05, value));
  for (const point of course) {
    const age = (last.time - point.time) / TRAIL_S;
    for (const face of age <= 1 ? point.faces : []) {
      if (face.valence === null || face.arousal === null) {
        continue;
      }
      const now = point === last;
      const main = face.track === followed;
      context.globalAlpha = now ? 1 : 0.4 * (1 - age);
      context.fillStyle = color(main ? "valence" : "quiet");
      context.beginPath();
      context.arc(x(inside(face.valence)), y(inside(face.arousal)), now ? 8 : 4, 0, 2 * Math.PI);
      context.fill();
      if (now && point.faces.length > 1) {
        context.fillStyle = color("card");
        context.fillText(face.track, x(inside(face.valence)), y(inside(face.arousal)));
      }
    }
  }
  context.globalAlpha = 1;
}

function drawCurves() {
  const { context, width, height } = prepared(element("curves"));
  const [left, right, top, bottom] = [34, width - 8, 10, height - 24];
  const end = Math.max(SHOWN_S, course.length ? course[course.length - 1].time : 0);
  const x = (time) => right - ((end - time) / SHOWN_S) * (right - left);
  const y = (value) => top + ((1 - Math.max(-1.05, Math.min(1.05, value))) / 2) * (bottom - top);
  context.strokeStyle = color("line");
  context.fillStyle = color("quiet");
  context.beginPath();
  context.textAlign = "right";
  for (const value of [-1, 0, 1]) {
    context.moveTo(left, y(value));
    context.lineTo(right, y(value));
    context.fillText(value === 0 ? "0" : signed(value).slice(0, 2), left - 8, y(value));
  }
  context.textAlign = "center";
  for (let time = Math.ceil((end - SHOWN_S) / 5) * 5; time <= end; time += 5) {
    context.moveTo(x(time), bottom);
    context.lineTo(x(time), bottom + 5);
    const place = Math.min(right - 12, Math.max(left + 8, x(time)));
    context.fillText(`${time} s`, place, bottom + 15);
  }
  context.stroke();
  context.lineWidth = 2;
  for (const name of ["valence", "arousal"]) {
    context.strokeStyle = color(name);
    context.beginPath();
    let before = null;
    for (const point of course) {
      const goesOn = before && point.track === before.track && point.time - before.time < GAP_S;
      if (point[name] === null) {
        before = null;
        continue;
      }
      if (goesOn) {
        context.lineTo(x(point.time), y(point[name]));
      } else {
        context.moveTo(x(point.time), y(point[name]));
      }
      before = point;
    }
    context.stroke();
  }
}

// Controls.

element("camera").onclick = useCamera;
element("choose").onclick = () => element("file").click();
element("file").onchange = (event) => {
  if (event.target.files.length) {
    useFile(event.target.files[0]);
    event.target.value = "";
  }
};
element("stop").onclick = stop;
element("faces").onchange = () => {
  if (source) {
    disconnect();
    connect();
  }
};

const stage = document.querySelector(".stage");
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("over");
});
document.addEventListener("dragleave", () => stage.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) {
    useFile(file);
  }
});
watch();
new ResizeObserver(draw).observe(document.querySelector("main"));
