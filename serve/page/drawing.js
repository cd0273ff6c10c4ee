// A pose on a canvas: the body, and below it the hands close up, since hands are what one reads.

const BODY = { width: 3.2, top: -1.08, height: 2.15 }; // shoulder widths
const HAND_SPAN = 0.82; // shoulder widths across a close-up
const BODY_SHARE = 0.37; // of the height of the picture, where there are hands
const FINGERS = ["thumb", "index", "middle", "ring", "little"];
const PALM = [0, 1, 5, 9, 13, 17]; // its corners among the joints of a hand: the wrist, and where each finger begins
const HEAD = 0.27; // shoulder widths: a quiet round where there is a nose and no face
const BEFORE = { right_hand: 0, left_hand: 1 }; // the order in the picture

export class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.colours = null; // until they are read, and again when the scheme has changed
  }

  /** Fits the canvas to the screen's own pixels; true if that changed it. */
  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width === width && this.canvas.height === height) return false;
    Object.assign(this.canvas, { width, height });
    return true;
  }

  clear() {
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  draw(signing, position) {
    this.clear();
    this.colours ??= this.readColours();
    const joints = signing.at(position);
    const { width, height } = this.canvas;
    const hands = [...signing.hands].sort((a, b) => (BEFORE[a.name] ?? 2) - (BEFORE[b.name] ?? 2));
    const bodyHeight = hands.length ? height * BODY_SHARE : height;
    this.inside(0, 0, width, bodyHeight, () => {
      const scale = Math.min(width / BODY.width, bodyHeight / BODY.height);
      this.look([0, BODY.top + bodyHeight / scale / 2], [width / 2, bodyHeight / 2], scale);
      this.body(signing, joints);
    });
    hands.forEach((hand, place) => {
      const each = width / hands.length;
      this.inside(place * each, bodyHeight, each, height - bodyHeight, () => {
        const scale = Math.min(each, height - bodyHeight) / HAND_SPAN;
        this.look(signing.centre(hand, position), [(place + 0.5) * each, (bodyHeight + height) / 2], scale);
        this.hand(hand, joints, 0.032);
      });
    });
  }

  inside(x, y, width, height, draw) {
    this.pen.save();
    this.pen.beginPath();
    this.pen.rect(x, y, width, height);
    this.pen.clip();
    draw();
    this.pen.restore();
  }

  /** The point ``from`` of the pose comes to ``to`` on the canvas. */
  look(from, to, scale) {
    this.pen.setTransform(scale, 0, 0, scale, to[0] - from[0] * scale, to[1] - from[1] * scale);
    this.pen.lineJoin = "round";
  }

  body(signing, joints) {
    const hasFace = signing.parts.some((part) => part.name === "face" && part.seen.length);
    for (const part of signing.parts.filter((some) => !some.hand)) {
      const nose = part.seen.find((joint) => part.names[joint - part.first].toLowerCase() === "nose");
      if (nose !== undefined && !hasFace) this.round(joints, nose, HEAD, this.colours.faint);
      this.limbs(part.limbs, joints, this.colours.body, part.name === "face" ? 0.014 : 0.042);
    }
    for (const hand of signing.hands) this.hand(hand, joints, 0.03);
  }

  /** Palm first, then each finger in its colour, set off from what it covers by a rim; the thumb last, for it mostly lies before them. */
  hand(hand, joints, thickness) {
    const finger = (joint) => Math.floor((joint - hand.first - 1) / 4);
    const ofFinger = (f) => hand.limbs.filter(([a, b]) => a > hand.first && b > hand.first && finger(a) === f && finger(b) === f);
    const palm = hand.limbs.filter(([a, b]) => a === hand.first || b === hand.first || finger(a) !== finger(b));
    this.fill(PALM.map((corner) => hand.first + corner).filter((joint) => hand.seen.includes(joint)), joints, this.colours.faint);
    this.limbs(palm, joints, this.colours.palm, thickness * 0.5);
    for (const f of [1, 2, 3, 4, 0]) {
      this.limbs(ofFinger(f), joints, this.colours.stage, thickness * 1.6, "butt");
      this.limbs(ofFinger(f), joints, this.colours[FINGERS[f]], thickness);
    }
  }

  limbs(pairs, joints, colour, thickness, lineCap = "round") {
    let end = null;
    this.pen.beginPath();
    for (const [a, b] of pairs) {
      if (!isSeen(joints, a) || !isSeen(joints, b)) continue;
      if (a !== end) this.pen.moveTo(joints[2 * a], joints[2 * a + 1]);
      this.pen.lineTo(joints[2 * b], joints[2 * b + 1]);
      end = b;
    }
    Object.assign(this.pen, { strokeStyle: colour, lineWidth: thickness, lineCap });
    this.pen.stroke();
  }

  fill(corners, joints, colour) {
    this.pen.beginPath();
    for (const joint of corners.filter((corner) => isSeen(joints, corner))) this.pen.lineTo(joints[2 * joint], joints[2 * joint + 1]);
    this.pen.fillStyle = colour;
    this.pen.fill();
  }

  round(joints, joint, radius, colour) {
    if (!isSeen(joints, joint)) return;
    this.pen.beginPath();
    this.pen.arc(joints[2 * joint], joints[2 * joint + 1], radius, 0, 2 * Math.PI);
    this.pen.fillStyle = colour;
    this.pen.fill();
  }

  /** The colours of the scheme that the reader prefers, from the style sheet. */
  readColours() {
    const style = getComputedStyle(this.canvas);
    return Object.fromEntries(["stage", "body", "palm", "faint", ...FINGERS].map((name) => [name, style.getPropertyValue(`--${name}`)]));
  }
}

function isSeen(joints, joint) {
  return !Number.isNaN(joints[2 * joint]);
}
